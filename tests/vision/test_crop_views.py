import numpy as np
import pytest
import torch

from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Blur, Crops, blurred, crop_views, resized_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(batch: int, side: int = 32) -> torch.Tensor:
    """Channel 0 holds the column, channel 1 the row of each pixel, in shares of the image."""
    place = (torch.arange(side) + 0.5) / side
    image = torch.stack([place.expand(side, side), place[:, None].expand(side, side)], dim=-1)
    return image.expand(batch, side, side, 2).contiguous()


def test_a_crop_is_a_window_of_the_declared_area_and_aspect():
    """On ramps a bilinear crop is a ramp again: its ends tell the window."""
    crops = resized_crop(ramps(400), 8, [0.2, 0.6], generator()).double().numpy()
    column, row = crops[..., 0], crops[..., 1]
    assert np.allclose(column.std(axis=1), 0, atol=1e-5)
    assert np.allclose(row.std(axis=2), 0, atol=1e-5)
    # Ends of the inner pixels, since the outer half pixel of the image is clamped.
    width = (column[:, 0, 6] - column[:, 0, 1]) / 5 * 8
    height = (row[:, 6, 0] - row[:, 1, 0]) / 5 * 8
    assert (width > 0).all()  # never mirrored
    assert (height > 0).all()
    area, aspect = width * height, width / height
    assert 0.2 - 1e-3 <= area.min() < 0.22
    assert 0.58 < area.max() <= 0.6 + 1e-3
    assert 0.75 - 1e-3 <= aspect.min() < 0.78
    assert 1.28 < aspect.max() <= 4 / 3 + 1e-3
    left = column[:, 0, 1] - 1.5 * width / 8
    assert left.min() > -1e-3
    assert (left + width).max() < 1 + 1e-3
    # Anywhere: the share of the room that lies to the left is uniform.
    assert abs((left / (1 - width)).mean() - 0.5) < 0.05


def test_the_whole_image_at_its_own_size_is_the_image_where_the_aspect_allows():
    crops = resized_crop(ramps(200, 8), 8, [1.0, 1.0], generator())
    assert crops.shape == (200, 8, 8, 2)
    # Area 1 cannot be had with an aspect other than 1: the longer side is that of the image.
    whole = np.isclose(crops[..., 0].numpy(), ramps(1, 8)[..., 0].numpy(), atol=1e-5).all(axis=(1, 2))
    assert 0.4 < whole.mean() < 0.6


def test_views_have_their_sizes_in_order_and_differ():
    groups = [Crops(n=2, size=8, scale=[0.5, 1.0]), Crops(n=3, size=5, scale=[0.1, 0.3])]
    views = crop_views(ramps(4), groups, Augmentation(), None, generator())
    assert [tuple(view.shape) for view in views] == [(4, 8, 8, 2)] * 2 + [(4, 5, 5, 2)] * 3
    assert not torch.equal(views[0], views[1])
    again = crop_views(ramps(4), groups, Augmentation(), None, generator())
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))


def test_augmentation_is_applied_to_the_crop():
    groups = [Crops(n=1, size=8, scale=[0.5, 1.0])]
    plain, noisy = (
        crop_views(torch.zeros(50, 8, 8, 1), groups, Augmentation(noise=noise), None, generator())[0]
        for noise in (0.0, 0.1)
    )
    assert (plain == 0).all()
    assert noisy.std().item() == pytest.approx(0.1, rel=0.05)


def test_blur_keeps_means_and_smooths_the_declared_share():
    noise = torch.rand(300, 16, 16, 1, generator=generator())
    state = torch.random.get_rng_state()
    smooth = blurred(noise, Blur(radius=[1.0, 2.0], probability=0.3), generator())
    assert torch.equal(state, torch.random.get_rng_state())
    changed = (smooth != noise).flatten(1).any(dim=1)
    assert 0.2 < changed.float().mean() < 0.4
    deviation = smooth.flatten(1).std(dim=1) / noise.flatten(1).std(dim=1)
    assert deviation[changed].max() < 0.6
    assert smooth.mean().item() == pytest.approx(noise.mean().item(), abs=0.01)


def test_blur_of_a_point_is_a_gaussian_of_the_drawn_deviation():
    point = torch.zeros(1, 41, 41, 1)
    point[0, 20, 20] = 1
    spread = blurred(point, Blur(radius=[2.0, 2.0], probability=1.0), generator())[0, :, :, 0].double()
    place = torch.arange(41, dtype=torch.float64) - 20
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(dim=0) * place**2).sum().sqrt().item() == pytest.approx(2.0, abs=0.05)
