import pytest
import torch

from tasks.nn.lars import scale_gradients


def network(seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).double()


def loss_of(module: torch.nn.Module, seed: int) -> torch.Tensor:
    x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return module(x).square().mean()


def test_steps_are_those_of_the_formula():
    """Three steps of SGD with momentum, beside a loop that computes every one by hand."""
    trust, decay, rate, momentum = 0.01, 0.1, 0.5, 0.9
    module, other = network(), network()
    scale_gradients(module.parameters(), trust, decay)
    sgd = torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)
    velocity = [torch.zeros_like(p) for p in other.parameters()]
    for step in range(3):
        sgd.zero_grad()
        loss_of(module, step).backward()
        sgd.step()
        gradients = torch.autograd.grad(loss_of(other, step), list(other.parameters()))
        with torch.no_grad():
            for w, g, v in zip(other.parameters(), gradients, velocity, strict=True):
                local = trust * w.norm() / (g.norm() + decay * w.norm() + 1e-8)
                v.mul_(momentum).add_(local * (g + decay * w))
                w.sub_(rate * v)
    for got, expected in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.allclose(got, expected, atol=1e-12)


def test_length_of_a_step_does_not_depend_on_that_of_the_gradient():
    lengths = []
    for factor in (1, 1000):
        module = network()
        scale_gradients(module.parameters(), 0.01, 0.0)
        (factor * loss_of(module, 0)).backward()
        lengths.append([p.grad.norm().item() for p in module.parameters()])
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)
    assert lengths[0][0] == pytest.approx(0.01 * network()[0].weight.norm().item(), rel=1e-4)


def test_zero_weights_and_zero_gradients_are_left():
    weight = torch.nn.Parameter(torch.zeros(3))
    scale_gradients([weight], 0.01, 0.5)
    (weight * 2).sum().backward()
    assert torch.equal(weight.grad, torch.full((3,), 2.0))
    weight = torch.nn.Parameter(torch.ones(3))
    scale_gradients([weight], 0.01, 0.5)
    (weight * 0).sum().backward()
    assert torch.equal(weight.grad, torch.zeros(3))
