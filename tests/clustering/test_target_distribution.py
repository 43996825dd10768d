"""Target assignments, against loops, the objective that they come from, and invariances."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from tasks.clustering.target_distribution import softmax_rows, target_assignments, unit_centroids


def dirichlet(n: int = 200, k: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n)


def objective(q: np.ndarray, p: np.ndarray) -> float:
    """KL(Q || P) + KL(mean of Q || uniform), per sample."""
    f = q.mean(axis=0)
    kl = np.where(q > 0, q * np.log(np.where(q > 0, q, 1) / p), 0).sum(axis=1).mean()
    return kl + (f * np.log(f * q.shape[1])).sum()


@pytest.mark.parametrize(("mode", "power", "root"), [("squared", 2, 1), ("sqrt", 1, 0.5)])
def test_against_loops(mode, power, root):
    p = dirichlet(30, 3)
    expected = np.empty_like(p)
    for i in range(30):
        weighted = [p[i, k] ** power / sum(p[j, k] for j in range(30)) ** root for k in range(3)]
        expected[i] = np.array(weighted) / sum(weighted)
    assert np.allclose(target_assignments(p, mode), expected)
    assert np.allclose(target_assignments(p, mode).sum(axis=1), 1)


def test_hard_and_none():
    p = dirichlet(20)
    assert np.array_equal(target_assignments(p, "none"), p)
    hard = target_assignments(p, "hard")
    assert np.array_equal(hard.argmax(axis=1), p.argmax(axis=1))
    assert np.array_equal(np.sort(hard, axis=1)[:, -2:], np.tile([0.0, 1.0], (20, 1)))


def test_only_the_square_root_nearly_minimises_the_objective():
    """The minimiser has q proportional to p / f; it is found here by descent on the logits of Q."""
    p = dirichlet(40, 3)

    def of_logits(flat: np.ndarray) -> tuple[float, np.ndarray]:
        q = softmax(flat.reshape(p.shape), axis=1)
        inner = (np.log(q / p) + np.log(q.mean(axis=0))) / len(p)
        return objective(q, p), (q * (inner - (q * inner).sum(axis=1, keepdims=True))).ravel()

    least = minimize(of_logits, np.log(p).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 5000}).fun
    value = {mode: objective(target_assignments(p, mode), p) for mode in ("sqrt", "none", "squared")}
    assert least <= value["sqrt"] + 1e-9
    assert value["sqrt"] - least < 0.2 * (value["none"] - least)
    assert value["squared"] > 5 * value["none"]


def test_squared_sharpens_and_the_square_root_balances():
    p = dirichlet()
    p[:, 0] += 1.5
    p /= p.sum(axis=1, keepdims=True)
    spread = {mode: target_assignments(p, mode).mean(axis=0).std() for mode in ("none", "sqrt")}
    assert spread["sqrt"] < spread["none"]
    even = dirichlet()
    top = {mode: target_assignments(even, mode).max(axis=1).mean() for mode in ("none", "sqrt", "squared")}
    assert top["squared"] > top["none"] + 0.05
    assert abs(top["sqrt"] - top["none"]) < 0.01


def test_equal_masses_leave_the_square_alone():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
    assert np.allclose(target_assignments(p, "squared"), p**2 / (p**2).sum(axis=1, keepdims=True))
    assert np.allclose(target_assignments(p, "sqrt"), p)


@pytest.mark.parametrize("mode", ["squared", "sqrt", "hard", "none"])
def test_permuting_clusters_permutes_targets(mode):
    p, order = dirichlet(), [2, 0, 3, 1]
    assert np.allclose(target_assignments(p[:, order], mode), target_assignments(p, mode)[:, order])


def test_a_dead_cluster_divides_by_no_zero():
    p = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0]])
    for mode in ("squared", "sqrt"):
        with pytest.warns(UserWarning, match=r"clusters \[2\] have lost all samples"):
            q = target_assignments(p, mode)
        assert np.isfinite(q).all()
        assert (q[:, 2] == 0).all()
        assert np.allclose(q.sum(axis=1), 1)


@pytest.mark.parametrize(
    "bad", [np.full((3, 2), np.nan), np.array([[1.5, -0.5]]), np.array([[0.5, 0.4]]), np.empty((0, 3)), np.ones(3)]
)
def test_bad_assignments(bad):
    with pytest.raises(ValueError, match="assignments must be"):
        target_assignments(bad, "squared")


def test_a_layer_of_unit_centroids_ranks_each_centroid_first():
    """A transposed weight matrix would raise no error where d = K: this is what tells it."""
    centroids = np.random.default_rng(0).normal(size=(6, 6)) * np.arange(1, 7)[:, None]
    weights = unit_centroids(centroids)
    assert np.allclose(np.linalg.norm(weights, axis=1), 1)
    logits = (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)) @ weights.T
    assert (logits.argmax(axis=1) == np.arange(6)).all()
    assert ((centroids @ weights).argmax(axis=1) != np.arange(6)).any()


def test_centroids_that_a_layer_cannot_tell_apart():
    with pytest.raises(ValueError, match="centroid 1 is zero or not finite"):
        unit_centroids(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(ValueError, match="centroids 0 and 2 have one direction"):
        unit_centroids(np.array([[1.0, 1], [0, 1], [2, 2]]))


def test_softmax():
    logits = np.random.default_rng(0).normal(size=(5, 3)) * 500
    assert np.allclose(softmax_rows(logits), softmax(logits, axis=1))
