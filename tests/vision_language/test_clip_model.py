"""Embeddings of images, patches and texts beside the library's own."""

import numpy as np
import pytest
import torch

from tasks.artifacts import Checkpoint
from tasks.nn.encoder import image_tensor
from tasks.vision_language.clip_model import load_clip

TEXTS = ["a photo of a red star", "a blue circle", "star"]


@pytest.fixture
def clip(clip_checkpoint):
    return load_clip(clip_checkpoint)


def pooled(output):
    return getattr(output, "pooler_output", output)


def test_cls_is_what_the_library_returns(clip, library_clip, images):
    pixels = clip.pixels(image_tensor(images))
    expected = (images / 255 - 0.5) / 0.5
    assert torch.allclose(pixels, torch.tensor(expected.transpose(0, 3, 1, 2), dtype=torch.float32), atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(
            clip.images(pixels, "cls"), pooled(library_clip.get_image_features(pixel_values=pixels)), atol=1e-5
        )


def test_mean_is_over_the_patches_without_the_class_token(clip, library_clip, images):
    pixels = clip.pixels(image_tensor(images))
    with torch.no_grad():
        tokens = library_clip.vision_model(pixel_values=pixels).last_hidden_state
        assert tokens.shape[1] == 17
        normed = library_clip.vision_model.post_layernorm(tokens[:, 1:])
        expected = library_clip.visual_projection(normed.mean(dim=1))
        assert clip.patches(pixels).shape == (5, 16, 8)
        assert torch.allclose(clip.images(pixels, "mean"), expected, atol=1e-5)
        with_class = library_clip.visual_projection(library_clip.vision_model.post_layernorm(tokens).mean(dim=1))
        assert not torch.allclose(expected, with_class, atol=1e-3)


def test_texts_are_pooled_at_the_end_token_and_padding_changes_nothing(clip, library_clip):
    together = clip.texts(TEXTS)
    alone = torch.cat([clip.texts([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    ids = torch.tensor([clip.tokenizer.encode(TEXTS[1]).ids])
    with torch.no_grad():
        states = library_clip.text_model(input_ids=ids).last_hidden_state
        assert torch.allclose(
            library_clip.text_projection(states[0, 4]), together[1], atol=1e-5
        )  # <start> a blue circle <end>
        assert torch.allclose(pooled(library_clip.get_text_features(input_ids=ids))[0], together[1], atol=1e-5)


def test_refuses_what_is_no_clip_with_text(clip_checkpoint):
    with pytest.raises(ValueError, match="needs a network 'clip'"):
        load_clip(Checkpoint())
    with pytest.raises(ValueError, match="no tokenizer"):
        load_clip(Checkpoint(networks=clip_checkpoint.networks, meta={}))


def test_batches_of_texts_give_the_same(clip):
    assert torch.allclose(clip.texts(TEXTS, batch_size=2), clip.texts(TEXTS), atol=1e-5)
    assert clip.texts(TEXTS).dtype == torch.float32
    assert np.isfinite(clip.texts(TEXTS).numpy()).all()
