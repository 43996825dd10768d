"""Random crops show a part of the image and nothing else."""

import numpy as np
import torch

from tasks.vision.multi_crop import random_crops


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _coordinates(height, width):
    """Images whose channels are the pixel's row and column, in 0..1."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([y / height, x / width])[None].repeat(200, 1, 1, 1)


def test_crops_cover_the_asked_share_of_the_area_at_the_allowed_aspect():
    height, width = 60, 80
    crops = random_crops(_coordinates(height, width), 12, [0.2, 0.3], 0.0, _generator())
    assert crops.shape == (200, 2, 12, 12)
    # 11 of 12 steps lie between the centres of the outer pixels.
    spans = (crops.amax(dim=(2, 3)) - crops.amin(dim=(2, 3))).numpy() * 12 / 11 * [height, width]
    area = spans.prod(axis=1) / (height * width)
    assert area.min() > 0.19
    assert area.max() < 0.31
    aspect = spans[:, 1] / spans[:, 0]
    assert aspect.min() > 0.74
    assert aspect.max() < 1.35


def test_about_half_of_the_crops_are_mirrored():
    crops = random_crops(_coordinates(32, 32), 8, [0.5, 0.5], 0.0, _generator())
    mirrored = (crops[:, 1, :, 0] > crops[:, 1, :, -1]).all(dim=1).float().mean()
    assert 0.4 < mirrored < 0.6


def test_whole_image_comes_back_when_it_is_the_crop():
    images = torch.rand(50, 3, 16, 16, generator=_generator())
    crops = random_crops(images, 16, [1.0, 1.0], 0.0, _generator(4))
    # Aspect ratios differ from 1, so only the crops that happen to be nearly square can be compared: use the mean.
    assert np.isclose(crops.mean(), images.mean(), atol=0.01)


def test_jitter_multiplies_whole_channels():
    images = torch.full((100, 3, 8, 8), 0.5)
    crops = random_crops(images, 8, [0.4, 1.0], 0.1, _generator())
    gains = crops.mean(dim=(2, 3)) / 0.5
    assert torch.allclose(crops.std(dim=(2, 3)), torch.zeros(100, 3), atol=1e-6)
    assert 0.81 - 1e-6 <= gains.min() < 0.9
    assert 1.1 < gains.max() <= 1.21 + 1e-6
    assert (gains.std(dim=1) > 1e-4).all()


def test_crops_depend_on_the_generator_alone():
    images = torch.rand(5, 3, 16, 16, generator=_generator())
    torch.manual_seed(1)
    first = random_crops(images, 8, [0.3, 0.6], 0.1, _generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, random_crops(images, 8, [0.3, 0.6], 0.1, _generator(7)))
    assert not torch.equal(first, random_crops(images, 8, [0.3, 0.6], 0.1, _generator(8)))
