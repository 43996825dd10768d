"""Balanced codes, against the literal algorithm, the entropic transport problem, and known answers."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import logsumexp

from tasks.nn.dino_loss import view_loss
from tasks.nn.sinkhorn import FeatureQueue, codes_with_queue, sinkhorn

FIRST = torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.7, 0.1], [0.1, 0.2]], dtype=torch.float64)
SECOND = torch.tensor([[0.85, 0.2], [0.7, 0.3], [0.6, 0.2], [0.2, 0.3]], dtype=torch.float64)


def scores(b: int = 12, k: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (b, k)))


def literal(scores_bk: np.ndarray, epsilon: float, n_iter: int) -> np.ndarray:
    """Algorithm of the paper's appendix, written as it stands there."""
    q = np.exp(scores_bk / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(n_iter):
        q /= q.sum(axis=1, keepdims=True)
        q /= k
        q /= q.sum(axis=0, keepdims=True)
        q /= b
    return (q * b).T


def transport(scores_bk: np.ndarray, epsilon: float) -> np.ndarray:
    """argmax <Q, S> + epsilon H(Q) over Q with marginals 1/B and 1/K, from its dual, times B."""
    b, k = scores_bk.shape

    def dual(v: np.ndarray) -> tuple[float, np.ndarray]:
        log = (scores_bk + v) / epsilon
        u = logsumexp(log, axis=1)
        mass = np.exp(log - u[:, None]) / b
        return epsilon * u.mean() - v.mean(), mass.sum(axis=0) - 1 / k

    v = minimize(dual, np.zeros(k), jac=True, method="BFGS", options={"gtol": 1e-12}).x
    log = (scores_bk + v) / epsilon
    return np.exp(log - logsumexp(log, axis=1)[:, None])


def test_known_codes():
    codes = sinkhorn(FIRST, 0.05, 3)
    expected = [[0.944462, 0.055538], [0.697104, 0.302896], [0.237496, 0.762504], [0, 1]]
    assert np.allclose(codes, expected, atol=1e-6)
    assert np.allclose(codes.sum(dim=0), [1.879062, 2.120938], atol=1e-6)
    assert np.allclose(sinkhorn(FIRST, 0.05, 200).sum(dim=0), [2, 2], atol=1e-6)


def test_known_loss():
    codes = torch.stack([sinkhorn(FIRST, 0.05), sinkhorn(SECOND, 0.05)])
    assert view_loss(codes, torch.stack([FIRST, SECOND]), 0.1).item() == pytest.approx(1.7569130, abs=1e-7)


@pytest.mark.parametrize("n_iter", [1, 2, 3, 10])
def test_equals_the_literal_algorithm(n_iter):
    s = scores()
    assert np.allclose(sinkhorn(s, 0.05, n_iter), literal(s.numpy(), 0.05, n_iter), atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_converges_to_the_entropic_transport_plan(epsilon):
    s = scores(20, 4)
    assert np.allclose(sinkhorn(s, epsilon, 5000), transport(s.numpy(), epsilon), atol=1e-6)


def test_samples_sum_to_one_and_prototypes_only_nearly():
    codes = sinkhorn(scores(50, 7), 0.05)
    assert torch.allclose(codes.sum(dim=1), torch.ones(50, dtype=torch.float64), atol=1e-12)
    mass = codes.sum(dim=0)
    assert (mass - 50 / 7).abs().max() > 1e-6
    # Far more even than without the scalings.
    assert mass.std() < 0.5 * sinkhorn(scores(50, 7), 0.05, 0).sum(dim=0).std()


def test_no_iterations_are_a_softmax():
    assert torch.allclose(sinkhorn(scores(), 0.1, 0), torch.softmax(scores() / 0.1, dim=1))


def test_invariances():
    s, order = scores(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    codes = sinkhorn(s, 0.05)
    assert torch.allclose(sinkhorn(s + 3.7, 0.05), codes)
    assert torch.allclose(sinkhorn(s[order], 0.05), codes[order])
    assert torch.allclose(sinkhorn(s[:, [1, 0, 4, 3, 2]], 0.05), codes[:, [1, 0, 4, 3, 2]])
    twice = sinkhorn(torch.cat([s, s]), 0.05)
    assert torch.allclose(twice[:12], twice[12:])


def test_equal_samples_have_uniform_codes_and_at_least_the_loss_of_guessing():
    s = scores(1, 6).repeat(9, 1)
    codes = sinkhorn(s, 0.05)
    assert torch.allclose(codes, torch.full((9, 6), 1 / 6, dtype=torch.float64))
    assert view_loss(codes[None], torch.stack([s, s]), 0.1) >= np.log(6)


def test_limits_of_epsilon():
    s = scores(12, 4)
    assert torch.allclose(sinkhorn(s, 1e6), torch.full((12, 4), 0.25, dtype=torch.float64), atol=1e-5)
    hard = sinkhorn(s, 1e-3, 20000)
    # The balanced assignment: each prototype offers three places.
    sample, place = linear_sum_assignment(np.repeat(s.numpy(), 3, axis=1), maximize=True)
    assert (hard.argmax(dim=1).numpy()[sample] == place // 3).all()
    assert hard.max(dim=1).values.min() > 0.99


def test_half_precision_and_tiny_epsilon_stay_finite():
    codes = sinkhorn(torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float16), 0.05)
    assert codes.dtype == torch.float32
    assert torch.allclose(codes, torch.eye(2))
    assert torch.isfinite(sinkhorn(scores().float(), 1e-4)).all()


def test_codes_take_no_gradient():
    s = scores().requires_grad_(True)
    assert not sinkhorn(s, 0.05).requires_grad


@pytest.mark.parametrize(
    ("bad", "epsilon", "n_iter", "message"),
    [
        (torch.zeros(4, 1), 0.05, 3, "at least 2 samples and 2 prototypes"),
        (torch.zeros(1, 4), 0.05, 3, "at least 2 samples and 2 prototypes"),
        (torch.zeros(4), 0.05, 3, "at least 2 samples"),
        (torch.zeros(4, 3), 0.0, 3, "epsilon must be above 0"),
        (torch.zeros(4, 3), 0.05, -1, "n_iter must be at least 0"),
        (torch.full((4, 3), torch.nan), 0.05, 3, "NaN or infinity"),
        (torch.full((4, 3), torch.inf), 0.05, 3, "NaN or infinity"),
    ],
)
def test_bad_input(bad, epsilon, n_iter, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(bad, epsilon, n_iter)


def features(rows: int, seed: int) -> torch.Tensor:
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return torch.nn.functional.normalize(x, dim=1)


def test_queue_is_used_once_full_with_the_prototypes_of_now():
    queue, prototypes = FeatureQueue(6, 3), features(4, 99)
    batches = [features(2, seed) for seed in range(5)]
    for batch in batches[:3]:
        assert not queue.is_full
        assert torch.equal(codes_with_queue(batch, queue, prototypes, 0.05, 3), sinkhorn(batch @ prototypes.T, 0.05))
    assert queue.is_full
    moved = features(4, 100)
    pool = torch.cat([batches[2], batches[1], batches[0], batches[3]])
    expected = sinkhorn(pool @ moved.T, 0.05)[-2:]
    assert torch.equal(codes_with_queue(batches[3], queue, moved, 0.05, 3), expected)
    assert not torch.allclose(expected, sinkhorn(batches[3] @ moved.T, 0.05))
    assert torch.equal(queue.features_LD, torch.cat([batches[3], batches[2], batches[1]]))


def test_queue_keeps_no_graph():
    queue = FeatureQueue(2, 3)
    queue.push(features(2, 0).requires_grad_(True))
    assert not queue.features_LD.requires_grad
