"""One vector per mask: the mean under it, or the CLS token of its crop."""

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Checkpoint, network_of
from tasks.nn.vit import load_vit, preprocess, vit_features
from tasks.segmentation.region_features import crop_cls, masked_means, patch_coverage, upsample


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=24
    )
    meta = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    return Checkpoint(
        networks={"vit": network_of(ViTModel(config, add_pooling_layer=False), config.to_dict())}, meta=meta
    )


def test_upsampling_repeats_patches():
    grid = np.arange(6).reshape(2, 3)
    assert np.array_equal(upsample(grid, 8, 12), np.kron(grid, np.ones((4, 4), dtype=int)))
    assert np.array_equal(upsample(np.stack([grid, grid]), 8, 12)[1], upsample(grid, 8, 12))
    uneven = upsample(grid, 5, 7)
    assert uneven.shape == (5, 7)
    assert np.bincount(uneven.ravel(), minlength=6).min() >= 4


def test_coverage_counts_pixels():
    mask = np.zeros((8, 12), dtype=bool)
    mask[0:4, 2:9] = True
    assert patch_coverage(mask, (2, 3)).tolist() == [[8, 16, 4], [0, 0, 0]]


def test_masked_mean_is_weighted_by_pixels_and_reads_the_owners_image():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 2, 3, 5)).astype(np.float32)
    masks = rng.random((4, 8, 12)) < 0.3
    owner = np.array([2, 0, 0, 1])
    means = masked_means(masks, owner, features)
    assert means.dtype == np.float32
    for mask, image, mean in zip(masks, owner, means, strict=True):
        assert np.allclose(mean, upsample(features[image].transpose(2, 0, 1), 8, 12)[:, mask].mean(axis=1), atol=1e-6)


def test_crop_shows_the_masked_pixels_alone(checkpoint):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    mask = np.zeros((1, 16, 16), dtype=bool)
    mask[0, 4:12, 8:16] = True
    mask[0, 5, 9] = False
    cls = crop_cls(mask, np.array([1]), images, checkpoint, (8, 8))
    assert cls.shape == (1, 12)
    cut = np.array(images[1, 4:12, 8:16]) / 255
    cut[1, 1] = 0
    vit = load_vit(checkpoint)
    pixels = preprocess(torch.from_numpy(cut.transpose(2, 0, 1)[None].astype(np.float32)), vit, checkpoint.meta)
    assert np.allclose(cls, vit_features(vit, pixels, "last")[1], atol=1e-5)
    outside = images.copy()
    outside[1][~mask[0]] = 7
    assert np.array_equal(cls, crop_cls(mask, np.array([1]), outside, checkpoint, (8, 8)))


def test_many_crops_of_different_shapes(checkpoint):
    images = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    masks = np.zeros((70, 16, 16), dtype=bool)
    for index in range(70):
        masks[index, index % 16, : index // 7 + 1] = True
    cls = crop_cls(masks, np.zeros(70, dtype=int), images, checkpoint, (8, 12))
    assert cls.shape == (70, 12)
    assert np.isfinite(cls).all()
    alone = crop_cls(masks[69:], np.zeros(1, dtype=int), images, checkpoint, (8, 12))
    assert np.allclose(cls[69], alone[0], atol=1e-5)
