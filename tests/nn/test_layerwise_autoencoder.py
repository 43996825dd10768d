import math

import numpy as np
import pytest
import torch

from tasks.artifacts import network_of
from tasks.nn.layerwise_autoencoder import (
    AutoencoderSettings,
    LayerwiseAutoencoder,
    autoencoder_from_config,
    build_autoencoder,
    clean_codes,
    clean_loss,
    reconstruction_loss,
    signed_images,
)

SMALL = AutoencoderSettings(
    maps=[4, 6], kernels=[3, 3], strides=[1, 2], padding=[1, 1], code=5, dropout=[0.3, 0.2, 0.1]
)


def images(n: int = 7, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((n, side, side, 1), dtype=np.float32)


@pytest.mark.parametrize(
    ("side", "kernels", "strides", "padding", "sizes"),
    [
        (28, [4, 5], [2, 2], [0, 2], [13, 7]),
        (32, [4, 5], [2, 2], [2, 2], [17, 9]),
        (55, [5, 4], [2, 2], [2, 0], [28, 13]),
        (8, [3, 3], [1, 2], [1, 1], [8, 4]),
        (9, [2], [3], [0], [3]),
    ],
)
def test_levels_and_their_reconstructions_have_one_shape(side, kernels, strides, padding, sizes):
    depth = len(kernels)
    settings = AutoencoderSettings(
        maps=[3, 4][:depth], kernels=kernels, strides=strides, padding=padding, dropout=[0.0] * (depth + 1)
    )
    network = build_autoencoder(settings, (side, side, 2), 0)
    levels, code = network.encode(torch.rand(3, 2, side, side))
    assert code.shape == (3, 10)
    assert [level.shape[-1] for level in levels] == [side, *sizes]
    assert [tuple(r.shape) for r in network.decode(code)] == [tuple(level.shape) for level in levels]


def test_the_clean_path_is_by_hand():
    network, x = build_autoencoder(SMALL, (8, 8, 1), 0), signed_images(images())
    functional = torch.nn.functional
    first = functional.leaky_relu(network.convolutions[0](x), 0.01)
    second = functional.leaky_relu(network.convolutions[1](first), 0.01)
    code = torch.tanh(network.to_code(second.flatten(1)))
    levels, got = network.encode(x)
    assert torch.equal(levels[0], x)
    assert torch.equal(levels[1], first)
    assert torch.equal(levels[2], second)
    assert torch.equal(got, code)
    assert torch.equal(network(x), code)
    top = functional.leaky_relu(network.from_code(code), 0.01).reshape(7, 6, 4, 4)
    middle = functional.leaky_relu(network.deconvolutions[1](top), 0.01)
    picture = torch.tanh(network.deconvolutions[0](middle))
    for expected, decoded in zip([picture, middle, top], network.decode(code), strict=True):
        assert torch.equal(decoded, expected)


def test_dense_layer_with_the_activation_of_the_paper():
    one, other = (
        build_autoencoder(SMALL.model_copy(update={"dense_activation": a}), (8, 8, 1), 0)
        for a in ("tanh", "leaky_relu")
    )
    code = torch.randn(2, 5)
    assert torch.equal(one.decode(code)[-1], torch.tanh(one.from_code(code)).reshape(2, 6, 4, 4))
    assert other.decode(code)[-1].min() < 0


def test_noise_is_dropout_drawn_from_the_generator():
    network, x = build_autoencoder(SMALL, (8, 8, 1), 0), torch.ones(400, 1, 8, 8)
    state = torch.random.get_rng_state()
    noisy = [network.encode(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(noisy[0][1], noisy[1][1])
    assert not torch.equal(noisy[0][1], noisy[2][1])
    assert torch.equal(noisy[0][0][0], x)  # level 0 is the input before its dropout
    # An identity in place of the first convolution shows what it is given.
    seen = []
    network.convolutions[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.encode(x, torch.Generator().manual_seed(2))
    values = seen[0].unique()
    assert torch.allclose(values, torch.tensor([0, 1 / 0.7]))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_loss_is_the_weighted_sum_and_moves_the_clean_path():
    network, x = build_autoencoder(SMALL, (8, 8, 1), 0), signed_images(images())
    levels, _ = network.encode(x)
    decoded = [level.detach() + 0.5 * (index + 1) for index, level in enumerate(levels)]
    loss = reconstruction_loss(levels, decoded, 0.1)
    assert loss.item() == pytest.approx(0.25 + 0.1 * (1.0 + 2.25), rel=1e-5)
    loss.backward()
    assert network.convolutions[1].weight.grad is not None
    assert network.convolutions[1].weight.grad.abs().max() > 0
    levels, _ = network.encode(x)
    assert reconstruction_loss(levels, decoded, 0.0).item() == pytest.approx(0.25, rel=1e-5)


def test_clean_codes_and_loss_in_chunks():
    network, many = build_autoencoder(SMALL, (8, 8, 1), 0), images(600)
    rows = np.arange(599, -1, -1)
    x = signed_images(many[rows])
    with torch.no_grad():
        levels, code = network.encode(x)
        loss = reconstruction_loss(levels, network.decode(code), 0.3).item()
    assert np.allclose(clean_codes(network, many, rows), code.numpy(), atol=1e-6)
    assert clean_loss(network, many, rows, 0.3) == pytest.approx(loss, rel=1e-5)


def test_images_are_signed():
    bytes_ = np.array([0, 128, 255], dtype=np.uint8).reshape(1, 1, 3, 1)
    assert np.allclose(signed_images(bytes_), np.array([-1, 2 * 128 / 255 - 1, 1]).reshape(1, 1, 1, 3), atol=1e-6)


def test_initialisation_is_glorots_and_the_seed_decides():
    first, again, other = (build_autoencoder(SMALL, (8, 8, 1), seed) for seed in (0, 0, 1))
    bound = math.sqrt(6 / (96 + 5))
    weight = first.to_code.weight
    assert 0.95 * bound < weight.abs().max() <= bound
    assert all((parameter == 0).all() for name, parameter in first.named_parameters() if name.endswith("bias"))
    assert torch.equal(weight, again.to_code.weight)
    assert not torch.equal(weight, other.to_code.weight)


def test_it_is_rebuilt_from_its_configuration():
    network, x = build_autoencoder(SMALL, (8, 8, 1), 3), signed_images(images())
    stored = network_of(network, network.config())
    assert torch.equal(autoencoder_from_config(stored.config, stored.state)(x), network(x))


def test_bad_input():
    with pytest.raises(ValueError, match=r"autoencoder\.kernels: 1 values for 2 convolutions, not 2"):
        LayerwiseAutoencoder(SMALL.model_copy(update={"kernels": [3]}), (8, 8, 1))
    with pytest.raises(ValueError, match=r"autoencoder\.dropout: 2 values for 2 convolutions, not 3"):
        LayerwiseAutoencoder(SMALL.model_copy(update={"dropout": [0.1, 0.1]}), (8, 8, 1))
    with pytest.raises(ValueError, match="images of 8 x 8 pixels are too small"):
        LayerwiseAutoencoder(SMALL.model_copy(update={"kernels": [12, 3]}), (8, 8, 1))
