import pytest
import torch
from pydantic import ValidationError

from tasks.vision.augmentation import Augmentation, augment

EVERYTHING = Augmentation(
    shift=2, crop=[0.2, 1.0], flip=0.5, jitter=[0.4, 0.4, 0.4, 0.1], grey=0.2, contrast=0.2, noise=0.1
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def colour():
    return torch.rand(6, 8, 10, 3, generator=draws(9))


def test_nothing_by_default(colour):
    assert augment(colour, Augmentation(), draws()).equal(colour)


@pytest.mark.parametrize(
    "settings",
    [
        {"shift": 2},
        {"crop": [0.2, 1.0]},
        {"flip": 0.5},
        {"jitter": [0.4, 0.4, 0.4, 0.1]},
        {"grey": 0.5},
        {"contrast": 0.2},
        {"noise": 0.1},
    ],
)
def test_each_part_alone(colour, settings):
    original = colour.clone()
    first, again, other = (augment(colour, Augmentation(**settings), draws(s)) for s in (0, 0, 1))
    assert first.shape == colour.shape
    assert first.dtype == torch.float32
    assert first.isfinite().all()
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(colour)
    assert colour.equal(original)


def test_all_parts_and_the_global_state(colour):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again = (augment(colour, EVERYTHING, draws()) for _ in range(2))
    assert first.equal(again)
    assert first.shape == colour.shape
    assert torch.random.get_rng_state().equal(before)
    # A generator that goes on gives another view.
    shared = draws()
    assert not augment(colour, EVERYTHING, shared).equal(augment(colour, EVERYTHING, shared))


def test_shift_moves_whole_images_and_zeros_enter():
    image = torch.zeros(200, 5, 6, 1)
    image[:, 2, 3] = 1
    moved = augment(image, Augmentation(shift=1), draws())
    assert (moved.sum(dim=(1, 2, 3)) == 1).all()
    at = torch.nonzero(moved[..., 0])[:, 1:]
    offsets = {tuple(o) for o in (at - torch.tensor([2, 3])).tolist()}
    assert offsets == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    edge = torch.ones(50, 4, 4, 1)
    assert {float(v) for v in augment(edge, Augmentation(shift=1), draws()).unique()} == {0.0, 1.0}


def test_flip_mirrors_left_and_right(colour):
    mirrored = augment(colour, Augmentation(flip=1.0), draws())
    assert torch.allclose(mirrored, colour.flip(2))


def test_grey_leaves_one_value_in_all_channels(colour):
    grey = augment(colour, Augmentation(grey=1.0), draws())
    assert torch.allclose(grey[..., 0], grey[..., 1])
    assert torch.allclose(grey[..., 0], grey[..., 2])


def test_colour_settings_leave_single_channel_images_alone():
    image = torch.rand(3, 8, 8, 1, generator=draws())
    assert augment(image, Augmentation(jitter=[0.4, 0.4, 0.4, 0.1], grey=1.0), draws()).equal(image)


def test_crop_of_the_whole_square_keeps_it():
    image = torch.rand(4, 8, 8, 3, generator=draws())
    torch.testing.assert_close(
        augment(image, Augmentation(crop=[1.0, 1.0]), draws()).mean(), image.mean(), atol=0.05, rtol=0
    )
    part = augment(image, Augmentation(crop=[0.1, 0.2]), draws())
    assert part.min() >= image.min() - 1e-5
    assert part.max() <= image.max() + 1e-5


def test_contrast_scales_an_image_and_noise_has_its_deviation():
    image = torch.rand(2000, 2, 2, 1, generator=draws()) + 0.5
    factor = augment(image, Augmentation(contrast=0.2), draws()) / image
    assert factor.std(dim=(1, 2, 3)).max() < 1e-5
    assert factor[:, 0, 0, 0].std().item() == pytest.approx(0.2, abs=0.02)
    noise = augment(image, Augmentation(noise=0.1), draws()) - image
    assert noise.std().item() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": -1},
        {"flip": 1.5},
        {"crop": [0.2]},
        {"crop": [0.2, 2.0]},
        {"jitter": [0.4]},
        {"noise": -0.1},
        {"blur": 1},
    ],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValidationError):
        Augmentation(**wrong)
