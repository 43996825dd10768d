"""Class embeddings from prompts."""

import numpy as np
import pytest

from tasks.vision_language.clip_model import load_clip
from tasks.vision_language.prompts import class_embeddings


def test_prompts_are_averaged_before_anything_is_normalised(clip_checkpoint):
    clip = load_clip(clip_checkpoint)
    found = class_embeddings(clip, ["red star", "blue_circle"], ["a photo of a {}", "a {}"])
    raw = clip.texts(["a photo of a blue circle", "a blue circle"]).numpy()
    assert np.allclose(found[1], raw.mean(axis=0), atol=1e-5)
    normalised_first = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(axis=0)
    assert not np.allclose(
        found[1] / np.linalg.norm(found[1]), normalised_first / np.linalg.norm(normalised_first), atol=1e-4
    )


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        (["star"], ["a {}"], "at least two"),
        (["star", "star"], ["a {}"], "'star' occurs twice"),
        (["star", "circle"], ["a star"], "templates"),
    ],
)
def test_bad_input_is_named(clip_checkpoint, names, templates, message):
    with pytest.raises(ValueError, match=message):
        class_embeddings(load_clip(clip_checkpoint), names, templates)
