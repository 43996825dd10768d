"""Adapters: what they are at the start, and the sign of the marginal term."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from tasks.vision_language.adapters import Adapters, marginal_loss


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(6, 8, generator=generator), 5 * torch.randn(4, 8, generator=generator)


def test_formula(drawn):
    feature, text = drawn
    network = Adapters(text, 100.0, 0.5, 0.2, seed=0)
    with torch.no_grad():
        network.residual.normal_()
    first, second = network.bottleneck[0].weight, network.bottleneck[2].weight
    assert first.shape == (2, 8)
    adapted = normalize(0.8 * feature + 0.2 * torch.relu(torch.relu(feature @ first.T) @ second.T), dim=1)
    classes = normalize(0.5 * text + 0.5 * network.residual, dim=1)
    assert torch.allclose(network(feature), 100 * adapted @ classes.T, atol=1e-4)
    assert len(list(network.parameters())) == 3  # no biases


def test_zero_weights_are_zero_shot_but_would_never_train(drawn):
    feature, text = drawn
    network = Adapters(text, 100.0, 0.5, 0.2, seed=0)
    assert (network.residual == 0).all()
    assert torch.allclose(network.classes(), 100 * normalize(text, dim=1), atol=1e-4)
    with torch.no_grad():
        network.bottleneck[2].weight.zero_()
    assert torch.allclose(network(feature), 100 * normalize(feature, dim=1) @ normalize(text, dim=1).T, atol=1e-4)
    network(feature)[:, 0].sum().backward()
    assert network.residual.grad.abs().sum() > 0
    assert (network.bottleneck[2].weight.grad == 0).all()
    assert (network.bottleneck[0].weight.grad == 0).all()


def test_started_at_random_the_bottleneck_gets_gradient_and_equal_seeds_are_equal(drawn):
    feature, text = drawn
    one, again, other = (Adapters(text, 100.0, 0.5, 0.2, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.bottleneck[0].weight, again.bottleneck[0].weight)
    assert not torch.equal(one.bottleneck[0].weight, other.bottleneck[0].weight)
    one(feature)[:, 0].sum().backward()
    assert one.bottleneck[2].weight.grad.abs().sum() > 0


def test_marginal_is_least_when_predictions_spread():
    k = 345
    uniform = torch.zeros(5, k)
    assert marginal_loss(uniform).item() == pytest.approx(-math.log(k), abs=1e-3)
    assert marginal_loss(uniform).item() == pytest.approx(-5.84, abs=0.01)
    # Sure of a class each, and all classes alike: as low. All sure of one class: 0.
    assert marginal_loss(100 * torch.eye(k)).item() == pytest.approx(-math.log(k), abs=1e-3)
    assert marginal_loss(100 * torch.eye(k)[:1].repeat(9, 1)).item() == pytest.approx(0, abs=1e-3)


def test_too_few_dimensions():
    with pytest.raises(ValueError, match="3 dimensions"):
        Adapters(torch.ones(2, 3), 100.0, 0.5, 0.2, seed=0)
