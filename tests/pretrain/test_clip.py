"""Features of images, views and classes, and which images a seed gets."""

import numpy as np
import pytest
import torch

from tasks.artifacts import Dataset
from tasks.checkpoint.clip import clip as train_clip
from tasks.nn.encoder import image_tensor
from tasks.prepare.captioned_scenes import captioned_scenes
from tasks.pretrain.clip import clip
from tasks.vision_language.clip_model import load_clip


@pytest.fixture(scope="module")
def checkpoint():
    scenes = captioned_scenes(n_train=16, image_size=16, captions=True).without_truth()
    small = {"hidden": 16, "vision_layers": 1, "text_layers": 1, "heads": 2, "projection": 8, "batch_size": 8}
    return train_clip(scenes, **small, epochs=1, over_chance=0.0)


@pytest.fixture(scope="module")
def dataset():
    return captioned_scenes(
        n_train=6, n_test=3, image_size=16, replicates=2, mode="single", label="shape_color"
    ).without_truth()


def test_embeddings_are_raw_and_those_of_the_seeds_replicate(dataset, checkpoint):
    found = clip(dataset, checkpoint, templates=["a {}", "a photo of a {}"], seed=3)
    found.check()
    rows = np.flatnonzero(dataset.arrays["replicate"] == 1)
    assert found.tables["units"]["sample"].tolist() == rows.tolist()
    learner = load_clip(checkpoint)
    with torch.no_grad():
        expected = learner.images(learner.pixels(image_tensor(dataset.arrays["images"][rows])), "mean").numpy()
    assert np.allclose(found.arrays["embedding"], expected, atol=1e-6)
    name = dataset.meta["class_names"][7]
    assert np.allclose(
        found.arrays["text"][7], learner.texts([f"a {name}", f"a photo of a {name}"]).numpy().mean(axis=0), atol=1e-5
    )
    assert found.arrays["text"].shape == (36, 8)


def test_views_are_random_crops_by_the_seed(dataset, checkpoint):
    found, again = (clip(dataset, checkpoint, augmented_views=3, batch_size=4, seed=0) for _ in range(2))
    assert found.arrays["views"].shape == (9, 3, 8)
    assert np.array_equal(found.arrays["views"], again.arrays["views"])
    other = clip(dataset, checkpoint, augmented_views=3, batch_size=4, seed=2)  # the same replicate
    assert np.array_equal(found.arrays["embedding"], other.arrays["embedding"])
    assert not np.allclose(found.arrays["views"], other.arrays["views"])
    # A view that shows everything is the image, mirrored or not.
    whole = clip(dataset, checkpoint, augmented_views=8, crop=[1.0, 1.0], seed=0)
    distance = np.abs(whole.arrays["views"] - whole.arrays["embedding"][:, None]).max(axis=2)
    assert distance.shape == (9, 8)
    assert distance.max() < np.abs(found.arrays["views"] - found.arrays["embedding"][:, None]).max()


def test_bad_input_is_named(dataset, checkpoint):
    with pytest.raises(ValueError, match="crop"):
        clip(dataset, checkpoint, crop=[1.0, 0.5], seed=0)
    with pytest.raises(ValueError, match="images"):
        clip(Dataset(dataset.tables, meta=dataset.meta), checkpoint, seed=0)
    with pytest.raises(ValueError, match="class_names: 0 class"):
        clip(Dataset(dataset.tables, dataset.arrays), checkpoint, seed=0)
