"""CLIP's loss: the library's where captions differ, brute force where they repeat."""

import numpy as np
import pytest
import torch
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from tasks.vision_language.contrastive_loss import image_text_loss


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)


def test_distinct_captions_give_the_loss_of_the_library(pair):
    image, text = (torch.nn.functional.normalize(x, dim=1) for x in pair)
    scale = torch.tensor(2.6592).exp()
    expected = image_text_contrastive_loss(scale * text @ image.T)
    assert image_text_loss(*pair, scale, torch.arange(6)) == pytest.approx(float(expected), rel=1e-5)


def test_equal_captions_share_the_target(pair):
    image, text = (x.numpy().astype(np.float64) for x in pair)
    text[3] = text[0]
    caption = [0, 1, 2, 0, 4, 5]
    cos = image @ text.T / np.linalg.norm(image, axis=1)[:, None] / np.linalg.norm(text, axis=1)
    logits = 7.0 * cos
    total = 0.0
    for matrix in (logits, logits.T):
        for i in range(6):
            positives = [j for j in range(6) if caption[j] == caption[i]]
            log_p = matrix[i] - np.log(np.exp(matrix[i]).sum())
            total -= log_p[positives].mean() / 12
    found = image_text_loss(torch.tensor(image), torch.tensor(text), torch.tensor(7.0), torch.tensor(caption))
    assert float(found) == pytest.approx(total)
    wrong = image_text_loss(torch.tensor(image), torch.tensor(text), torch.tensor(7.0), torch.arange(6))
    assert float(found) < float(wrong)
