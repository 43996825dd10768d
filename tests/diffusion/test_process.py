"""Noise in and noise out."""

import numpy as np
import pytest
import torch

from tasks.diffusion.process import add_noise, ddim_sample, decode, encode, signal_share


def test_shares_of_the_linear_schedule():
    abar = signal_share()
    assert abar[0] == pytest.approx(0.9999)
    betas = np.linspace(1e-4, 0.02, 1000)
    assert abar[499] == pytest.approx(np.exp(np.log1p(-betas[:500]).sum()), rel=1e-5)
    assert abar[-1] < 1e-4


def test_space_to_depth_round_trip_is_exact():
    images = torch.rand(3, 32, 32, 3).mul(255).round() / 255
    x = encode(images, 2)
    assert x.shape == (3, 12, 16, 16)
    assert x.min() >= -1
    assert x.max() <= 1
    back = decode(x, 2)
    assert torch.equal((back * 255).round(), (images * 255).round())
    assert torch.equal(encode(back, 2), encode(decode(encode(back, 2), 2), 2))
    # A channel holds one place of each square.
    assert torch.allclose(x[0, 1, 4, 5], 2 * images[0, 8, 11, 0] - 1)
    with pytest.raises(ValueError, match="block: 5"):
        encode(images, 5)


def test_first_step_leaves_the_image_and_the_last_leaves_noise():
    x, noise = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    found = add_noise(x, noise, torch.tensor([0, 999]))
    assert (found[0] - x[0]).abs().max() < 0.05
    assert torch.allclose(found[1], noise[1], atol=0.02)
    one = add_noise(torch.randn(20000, 1, 1, 1), torch.randn(20000, 1, 1, 1), torch.full((20000,), 300))
    assert one.var() == pytest.approx(1.0, rel=0.05)  # variance is preserved


def test_ddim_is_exact_for_a_known_image_and_deterministic():
    target, abar = torch.rand(2, 1, 4, 4) * 2 - 1, signal_share()

    def noise_of(x, t):
        a = abar[t][:, None, None, None]
        return (x - a.sqrt() * target) / (1 - a).sqrt()

    start = torch.randn(2, 1, 4, 4)
    found = ddim_sample(noise_of, start, 10)
    assert torch.allclose(found, target, atol=1e-3)
    assert torch.equal(found, ddim_sample(noise_of, start, 10))
