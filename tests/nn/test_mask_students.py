"""U-Nets and LowRes-Net that give soft masks."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import nn

from tasks.nn.lowres_net import LowResNet, gradients, hue
from tasks.nn.mask_unets import MaskUnet, dense_block, dilated_convolutions
from tasks.nn.training import Optimizer
from tasks.video.student import Crop, as_tensor, mask_network, random_view, student_masks, train_student

PAPER = [32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize("kind", ["basic_unet", "dilate_unet", "dense_unet"])
@pytest.mark.parametrize("stride", [1, 2])
def test_output_is_one_value_per_pixel_at_odd_sizes(kind, stride):
    network = MaskUnet(kind, [4, 8, 8], stem_stride=stride, growth=(2, 2, 2))
    assert network(torch.rand(2, 3, 37, 43)).shape == (2, 37, 43)


def convolutions_of(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


def test_basic_unet_is_that_of_the_code():
    network = MaskUnet("basic_unet", PAPER)
    # Two convolutions on five levels and in the centre, three on five decoder levels, one 1x1.
    layers = convolutions_of(network)
    assert len(layers) == 2 * 6 + 3 * 5 + 1
    shapes = [(m.in_channels, m.out_channels) for m in layers]
    assert shapes[:4] == [(3, 32), (32, 32), (32, 64), (64, 64)]
    assert shapes[10:13] == [(512, 1024), (1024, 1024), (1024 + 512, 512)]
    assert shapes[-4:] == [(64 + 32, 32), (32, 32), (32, 32), (32, 1)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == len(layers) - 1


def test_dilated_centre():
    layers = [m for m in dilated_convolutions(512, 512, (1, 2, 4, 8, 16, 32)) if isinstance(m, nn.Conv2d)]
    assert [m.dilation for m in layers] == [(d, d) for d in (1, 2, 4, 8, 16, 32)]
    assert all(m.padding == m.dilation and m.bias is None for m in layers)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in MaskUnet("dilate_unet", [4, 8]).centre.modules())


def test_a_dense_block_passes_its_outputs_and_not_its_input():
    block = dense_block(7, 5, growth=3)
    inputs = [m.in_channels for m in convolutions_of(block)]
    assert inputs == [7, 3, 6, 9, 12]  # the transition sees four outputs of three channels


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match="needs at least one level and the centre"):
        MaskUnet("basic_unet", [8])
    with pytest.raises(ValueError, match="growth: 5 numbers for 3 levels"):
        MaskUnet("dense_unet", [4, 8, 8])
    with pytest.raises(ValueError, match="input: 30 is no multiple of 4"):
        LowResNet(8, 30, 8)


def test_lowres_net_is_that_of_the_code():
    with torch.device("meta"):
        network = LowResNet(256, 128, 32)
    assert network.full.in_features == 32 * 32 * 64
    assert network.full.out_features == 1024
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in convolutions_of(network)]
    assert shapes[:6] == [(3, 256, 3), (256, 256, 5), (2, 256, 3), (256, 256, 5), (1, 256, 3), (256, 256, 5)]
    assert shapes[6:] == [(768, 256, 3), (256, 256, 5), (256, 256, 3), (256, 256, 5), (256, 64, 5)]


def test_lowres_net_starts_as_the_code_does():
    torch.manual_seed(0)
    network = LowResNet(16, 32, 8, 0.05)
    weight = network.full.weight
    assert weight.abs().max() <= 0.1
    assert weight.std().item() == pytest.approx(0.05 * 0.8796, rel=0.03)  # truncated at two deviations
    assert (network.full.bias == 0.1).all()
    assert all((m.bias == 0).all() for m in convolutions_of(network))
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 8, 8)
    # By He's rule the signal of a narrow network reaches the output, with the code's deviation it fades.
    images = torch.rand(8, 3, 32, 32)
    faded, kept = (LowResNet(8, 32, 8, std)(images).std(dim=0).mean().item() for std in (0.05, None))
    assert kept > 100 * faded
    with pytest.raises(ValueError, match="takes 32 x 32, got"):
        network(torch.rand(2, 3, 30, 32))


def test_gradients_of_a_ramp():
    y, x = np.mgrid[:6, :8]
    image = torch.tensor(np.repeat((0.1 * y + 0.02 * x)[None, None], 3, axis=1), dtype=torch.float32)
    down, right = gradients(image)[0]
    assert down[1:-1] == pytest.approx(np.full((4, 8), 0.1), abs=1e-6)
    assert right[:, 1:-1] == pytest.approx(np.full((6, 6), 0.02), abs=1e-6)


def test_hue_of_rgb_channels_in_this_order():
    colours = np.random.default_rng(0).uniform(size=(20, 3))
    got = hue(torch.tensor(colours.T[None, :, :, None], dtype=torch.float32))[0, 0, :, 0]
    assert got.numpy() == pytest.approx([colorsys.rgb_to_hsv(*c)[0] for c in colours], abs=1e-4)


@pytest.mark.parametrize(
    "network",
    [MaskUnet("dense_unet", [4, 8], growth=(2, 3)), MaskUnet("dilate_unet", [4, 8], dilations=(1, 3)), LowResNet(4, 16, 8)],
    ids=["dense", "dilate", "lowres"],
)  # fmt: skip
def test_a_network_is_rebuilt_from_its_configuration(network):
    again = mask_network(network.config())
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(network.eval()(x), again.eval()(x))


def test_crop_and_flip_are_the_same_for_image_and_mask():
    masks = torch.rand(16, 20, 20)
    images = masks[:, None].repeat(1, 3, 1, 1)
    views, cut = random_view(images, masks, Crop(resize=20, size=12), True, np.random.default_rng(0))
    assert views.shape == (16, 3, 12, 12)
    assert torch.equal(views[:, 0], cut)
    assert len({float(c[0, 0]) for c in cut}) == 16
    same, _ = random_view(images, masks, None, False, np.random.default_rng(0))
    assert torch.equal(same, images)
    flipped, _ = random_view(images, masks, None, True, np.random.default_rng(0))
    turned = sum(torch.equal(a, b.flip(-1)) for a, b in zip(flipped, images, strict=True))
    assert turned + sum(torch.equal(a, b) for a, b in zip(flipped, images, strict=True)) == 16
    assert 3 < turned < 13


class Constant(nn.Module):
    """Gives one learnt value everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, images):
        return self.value.expand(len(images), 8, 8)


def test_loss_is_the_mean_squared_error_at_the_networks_output_size():
    masks = np.random.default_rng(0).uniform(size=(4, 16, 16)).astype(np.float32)
    network = Constant(0.2)
    curves = train_student(
        network, np.zeros((4, 16, 16, 3), np.uint8), masks, activation="linear", crop=None, size=None, flip=False,
        steps=1, batch_size=4, optimizer=Optimizer(lr=1e-3), rng=np.random.default_rng(0),
    )  # fmt: skip
    shrunk = torch.nn.functional.interpolate(torch.tensor(masks)[:, None], (8, 8), mode="bilinear", antialias=True)
    assert curves["y"].iloc[0] == pytest.approx(float(((shrunk - 0.2) ** 2).mean()), rel=1e-5)


def test_training_finds_the_mean_of_constant_masks():
    network = Constant(0.9)
    train_student(
        network, np.zeros((4, 8, 8, 3), np.uint8), np.full((4, 8, 8), 0.25, np.float32), activation="linear", crop=None,
        size=None, flip=True, steps=300, batch_size=4, optimizer=Optimizer(lr=1e-2), rng=np.random.default_rng(0),
    )  # fmt: skip
    assert network.value.item() == pytest.approx(0.25, abs=1e-3)


def test_masks_are_clipped_before_they_are_stretched():
    class Ramp(nn.Module):
        def forward(self, images):
            return images[:, 0] * 3 - 1

    images = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(1, 8, 8, 1).repeat(3, axis=3)
    expected = np.clip(images[0, ..., 0] / 255 * 3 - 1, 0, 1)
    assert student_masks(Ramp(), images, None, "linear")[0] == pytest.approx(expected, abs=1e-5)
    # A constant output has no foreground.
    assert student_masks(Constant(0.7), images, None, "linear").max() == 0


def test_batch_norm_is_in_evaluation_mode_at_inference():
    network = MaskUnet("basic_unet", [4, 8])
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    together = student_masks(network, images, None, "linear")
    alone = student_masks(network, images[:1], None, "linear")
    assert alone[0] == pytest.approx(together[0], abs=1e-4)
    assert not network.training


def test_as_tensor():
    images = np.full((1, 2, 2, 3), 51, np.uint8)
    assert as_tensor(images).numpy() == pytest.approx(np.full((1, 3, 2, 2), 0.2))
