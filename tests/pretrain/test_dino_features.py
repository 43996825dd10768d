"""Patch features as a representation: order of rows, smoothing, sizes."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Checkpoint, Dataset, network_of
from tasks.nn.vit import image_batch, load_vit, preprocess, vit_features
from tasks.pretrain.dino_features import dino_features


def _dataset(height, width, n=5):
    images = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return Dataset({"samples": pd.DataFrame({"sample": range(n), "split": ["train"] * n})}, {"images": images})


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=24
    )
    vit = ViTModel(config, add_pooling_layer=False)
    meta = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    return Checkpoint(networks={"vit": network_of(vit, config.to_dict())}, meta=meta)


@pytest.mark.parametrize("features", ["patch_tokens", "key", "last", "linear_patch"])
def test_one_row_per_patch_in_order(checkpoint, features):
    dataset = _dataset(16, 24)
    representation = dino_features(dataset, checkpoint, features=features, batch_size=2)
    representation.check()
    assert representation.meta["grid"] == [4, 6]
    assert representation.meta["patch"] == 4
    units = representation.tables["units"]
    assert (units["sample"] * 24 + units["row"] * 6 + units["column"]).tolist() == list(range(5 * 24))
    assert representation.arrays["embedding"].shape == (120, 48 if features == "linear_patch" else 12)
    assert representation.arrays["embedding"].dtype == representation.arrays["cls"].dtype == np.float32
    assert representation.arrays["cls"].shape == (5, 12)


@pytest.mark.parametrize("features", ["patch_tokens", "key", "last"])
def test_rows_are_the_vits_features(checkpoint, features):
    dataset, vit = _dataset(16, 24), load_vit(checkpoint)
    representation = dino_features(dataset, checkpoint, features=features, batch_size=3)
    pixels = preprocess(image_batch(dataset.arrays["images"], np.arange(5)), vit, checkpoint.meta)
    tokens, cls = vit_features(vit, pixels, features)
    assert np.allclose(representation.arrays["embedding"], tokens.reshape(120, -1), atol=1e-5)
    assert np.allclose(representation.arrays["cls"], cls, atol=1e-5)


def test_linear_patch_is_the_patchs_pixels(checkpoint):
    dataset = _dataset(16, 24)
    embedding = dino_features(dataset, checkpoint, features="linear_patch").arrays["embedding"]
    patch = dataset.arrays["images"][2, 8:12, 20:24] / 255
    expected = (patch - checkpoint.meta["image_mean"]) / checkpoint.meta["image_std"]
    assert np.allclose(embedding[2 * 24 + 2 * 6 + 5], expected.transpose(2, 0, 1).ravel(), atol=1e-5)


def test_smoothing_is_a_gaussian_over_the_grid_of_each_image(checkpoint):
    dataset = _dataset(16, 24)
    raw = dino_features(dataset, checkpoint, features="patch_tokens").arrays["embedding"].reshape(5, 4, 6, 12)
    smooth = dino_features(dataset, checkpoint, features="patch_tokens", smooth=0.6).arrays["embedding"]
    expected = np.stack([gaussian_filter(image[..., 3], 0.6, mode="nearest") for image in raw])
    assert np.allclose(smooth.reshape(5, 4, 6, 12)[..., 3], expected, atol=1e-6)


def test_images_are_brought_to_image_size(checkpoint):
    representation = dino_features(_dataset(30, 50), checkpoint, features="key", image_size=16)
    assert representation.meta["grid"] == [4, 4]
    assert dino_features(_dataset(30, 50), checkpoint, features="key", image_size=[8, 16]).meta["grid"] == [2, 4]
    same = dino_features(_dataset(16, 24), checkpoint, features="key", image_size=[16, 24]).arrays["embedding"]
    assert np.array_equal(same, dino_features(_dataset(16, 24), checkpoint, features="key").arrays["embedding"])


def test_size_that_is_no_multiple_of_the_patch_is_named(checkpoint):
    with pytest.raises(ValueError, match="images of 26x16 pixels do not divide into patches of 4"):
        dino_features(_dataset(16, 26), checkpoint, features="key")
    with pytest.raises(ValueError, match="image_size"):
        dino_features(_dataset(16, 24), checkpoint, features="key", image_size=18)


def test_needs_images(checkpoint):
    with pytest.raises(ValueError, match="needs the array 'images'"):
        dino_features(Dataset(_dataset(16, 16).tables), checkpoint, features="key")


def test_equal_bits_when_run_twice(checkpoint):
    first, second = (dino_features(_dataset(16, 24), checkpoint, features="key", smooth=1.0) for _ in range(2))
    assert np.array_equal(first.arrays["embedding"], second.arrays["embedding"])
