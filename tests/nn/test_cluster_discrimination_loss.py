import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.nn.cluster_discrimination_loss import mlc_loss, mlcd_loss, positive_logits, sampled_cosines, softmax_loss


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


POSITIVE, NEGATIVE = row(0.4, 0.2), row(0.1, -0.3, 0.0)
logits = st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(lambda v: row(*v))


def test_known_answers():
    zeros = row(0, 0), row(0, 0, 0)
    assert mlcd_loss(*zeros).item() == pytest.approx(math.log(3) + math.log(4), abs=1e-12)
    assert mlc_loss(*zeros).item() == pytest.approx(math.log(7), abs=1e-12)
    assert mlcd_loss(POSITIVE, NEGATIVE).item() == pytest.approx(2.258932, abs=1e-6)
    assert mlc_loss(POSITIVE, NEGATIVE).item() == pytest.approx(1.655906, abs=1e-6)
    assert mlc_loss(row(0.4), NEGATIVE).item() == pytest.approx(1.067370, abs=1e-6)
    assert softmax_loss(row(0.4), NEGATIVE).item() == pytest.approx(1.067370, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(positive=logits, negative=logits)
def test_identities(positive, negative):
    n, p = negative.exp().sum().item(), (-positive).exp().sum().item()
    mlcd, mlc = mlcd_loss(positive, negative).item(), mlc_loss(positive, negative).item()
    assert mlcd == pytest.approx(math.log1p(n) + math.log1p(p), rel=1e-9)
    assert mlc == pytest.approx(math.log1p(n * p), rel=1e-9)
    assert mlcd >= max(mlc, math.log1p(n), math.log1p(p)) - 1e-9
    assert mlcd_loss(positive.flip(1), negative.flip(1)).item() == pytest.approx(mlcd, rel=1e-9)
    first = positive[:, :1]
    reference = torch.nn.functional.cross_entropy(torch.cat([first, negative], dim=1), torch.tensor([0]))
    assert softmax_loss(first, negative).item() == pytest.approx(reference.item(), rel=1e-9)
    assert mlc_loss(first, negative).item() == pytest.approx(reference.item(), rel=1e-9, abs=1e-12)


def test_only_mlcd_knows_the_boundary_at_zero():
    assert mlc_loss(POSITIVE + 3, NEGATIVE + 3).item() == pytest.approx(mlc_loss(POSITIVE, NEGATIVE).item(), rel=1e-12)
    assert abs(mlcd_loss(POSITIVE + 3, NEGATIVE + 3).item() - mlcd_loss(POSITIVE, NEGATIVE).item()) > 0.5


def test_gradient_is_the_closed_form_and_pull_and_push_stay_below_one():
    rng = np.random.default_rng(0)
    positive = torch.tensor(rng.normal(0, 3, (1, 4)), requires_grad=True)
    negative = torch.tensor(rng.normal(0, 3, (1, 7)), requires_grad=True)
    mlcd_loss(positive, negative).backward()
    pull = torch.exp(-positive) / (1 + torch.exp(-positive).sum())
    push = torch.exp(negative) / (1 + torch.exp(negative).sum())
    assert positive.grad is not None
    assert negative.grad is not None
    assert torch.allclose(positive.grad, -pull)
    assert torch.allclose(negative.grad, push)
    assert positive.grad.abs().sum() < 1
    assert negative.grad.sum() < 1


@pytest.mark.parametrize("loss", [mlcd_loss, mlc_loss, softmax_loss])
def test_gradcheck_with_a_mask(loss):
    rng = np.random.default_rng(1)
    positive = torch.tensor(rng.normal(size=(3, 1 if loss is softmax_loss else 2)), requires_grad=True)
    negative = torch.tensor(rng.normal(size=(3, 5)), requires_grad=True)
    mask = torch.tensor(rng.random((3, 5)) > 0.4)
    assert torch.autograd.gradcheck(lambda p, n: loss(p, n, mask), (positive, negative))


@pytest.mark.parametrize("loss", [mlcd_loss, mlc_loss, softmax_loss])
def test_a_masked_class_is_as_good_as_absent(loss):
    positive = POSITIVE[:, :1]
    mask = torch.tensor([[True, False, True]])
    assert loss(positive, NEGATIVE, mask).item() == pytest.approx(loss(positive, NEGATIVE[:, [0, 2]]).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("loss", [mlcd_loss, mlc_loss, softmax_loss])
@pytest.mark.parametrize(("p", "n"), [(64, 64), (-64, 64), (64, -64), (-64, -64)])
def test_no_overflow_at_scale_64(loss, dtype, p, n):
    positive = torch.full((2, 1), float(p), dtype=dtype, requires_grad=True)
    negative = torch.full((2, 50), float(n), dtype=dtype, requires_grad=True)
    mask = torch.ones(2, 50, dtype=torch.bool)
    mask[1, :25] = False
    value = loss(positive, negative, mask)
    value.backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert all(torch.isfinite(t).all() for t in (value, positive.grad, negative.grad))
    assert (negative.grad[1, :25] == 0).all()


@pytest.mark.parametrize("loss", [mlcd_loss, mlc_loss, softmax_loss])
def test_an_image_without_negatives(loss):
    positive, negative = row(0.4).requires_grad_(), row(1.0, 2.0).requires_grad_()
    value = loss(positive, negative, torch.tensor([[False, False]]))
    value.backward()
    expected = math.log1p(math.exp(-0.4)) if loss is mlcd_loss else 0.0
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert negative.grad is not None
    assert (negative.grad == 0).all()
    assert positive.grad is not None
    assert torch.isfinite(positive.grad).all()


def test_margin_makes_positives_harder():
    s = positive_logits(torch.tensor([0.5], dtype=torch.float64), 64.0, 0.3)
    assert s.item() == pytest.approx(14.191375, abs=2e-5)
    cosine = torch.linspace(-1, 1, 201)
    with_margin = positive_logits(cosine, 64.0, 0.3)
    assert (with_margin <= 64 * cosine + 1e-4).all()
    assert (with_margin >= -64.0).all()
    assert torch.allclose(positive_logits(cosine, 16.0, 0.0), 16 * cosine, atol=1e-2)
    assert with_margin[0].item() == pytest.approx(-64, abs=1e-4)  # the angle is clamped at pi, not wrapped


def test_margin_gradients():
    cosine = torch.tensor([-0.6, 0.1, 0.8], dtype=torch.float32)
    gradient = {}
    for kind in ("exact", "straight_through"):
        c = cosine.clone().requires_grad_()
        positive_logits(c, 16.0, 0.3, kind).sum().backward()
        gradient[kind] = c.grad
    assert torch.equal(gradient["straight_through"], torch.full((3,), 16.0))
    angle = torch.arccos(cosine)
    assert torch.allclose(gradient["exact"], 16 * torch.sin(angle + 0.3) / torch.sin(angle), rtol=1e-4)
    values = [positive_logits(cosine, 16.0, 0.3, kind) for kind in ("exact", "straight_through")]
    assert torch.allclose(*values, atol=1e-5)


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("kind", ["exact", "straight_through"])
def test_margin_gradient_is_finite_at_the_ends(value, kind):
    cosine = torch.tensor([value], requires_grad=True)
    positive_logits(cosine, 64.0, 0.3, kind).sum().backward()
    assert cosine.grad is not None
    assert torch.isfinite(cosine.grad).all()


def test_sampled_cosines_mask_own_positives_only():
    rng = np.random.default_rng(0)
    unit = torch.nn.functional.normalize
    features = unit(torch.tensor(rng.normal(size=(3, 4))), dim=1)
    weights = unit(torch.tensor(rng.normal(size=(9, 4))), dim=1)
    positives = torch.tensor([[0, 5], [5, 8], [1, 2]])
    sampled = torch.tensor([7, 5, 0, 3])
    positive, negative, is_negative = sampled_cosines(features, weights, positives, sampled)
    cosine = features @ weights.T
    assert torch.allclose(positive, cosine.gather(1, positives))
    assert torch.allclose(negative, cosine[:, sampled])
    assert is_negative.tolist() == [
        [True, False, False, True],
        [True, False, True, True],
        [True, True, True, True],  # 5 and 0 are positives of the others: negatives of this one
    ]


def test_softmax_refuses_several_positives():
    with pytest.raises(ValueError, match="one positive per image, got 2"):
        softmax_loss(POSITIVE, NEGATIVE)
