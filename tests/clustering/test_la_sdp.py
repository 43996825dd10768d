"""The programs against closed forms, each other and linear programs with cutting planes."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from tasks.clustering.gaussian_mixture import fit_mixture
from tasks.clustering.la_sdp import (
    block_memberships,
    hard_blocks,
    label_covariances,
    label_deviance,
    likelihood_costs,
    membership_covariances,
    project_affine,
    psd_part,
    solve_sdp,
    squared_distances,
)


def points(n=18, p=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)) * [3.0, 1.0, 0.5]


def test_lifted_objective_equals_the_likelihood_with_means():
    x, rng = points(), np.random.default_rng(1)
    label = np.arange(18) % 3
    covariance = np.stack([np.cov(rng.normal(size=(3, 20))) for _ in range(3)])
    direct = 0.0
    for k in range(3):
        member = x[label == k] - x[label == k].mean(axis=0)
        direct += len(member) * np.linalg.slogdet(covariance[k])[1]
        direct += np.einsum("np,pq,nq->", member, np.linalg.inv(covariance[k]), member)
    lifted = (likelihood_costs(x, covariance) * hard_blocks(label, 3)).sum()
    assert lifted == pytest.approx(direct, abs=1e-8)


def test_membership_covariances_of_hard_blocks_are_sample_covariances():
    x, label = points(), np.arange(18) % 3
    got = membership_covariances(x, hard_blocks(label, 3), 0.01)
    np.testing.assert_allclose(got, label_covariances(x, label, 3, 0.01), atol=1e-12)
    expected = np.cov(x[label == 1].T, bias=True)
    expected += 0.01 * np.trace(expected) / 3 * np.eye(3)
    np.testing.assert_allclose(got[1], expected, rtol=1e-4)


@pytest.mark.parametrize(("blocks", "trace"), [(3, 1.0), (1, 3.0)])
def test_affine_projection(blocks, trace):
    m = np.random.default_rng(0).normal(size=(blocks, 7, 7))
    m = m + m.transpose(0, 2, 1)
    x = project_affine(m, trace)
    np.testing.assert_allclose(np.trace(x, axis1=1, axis2=2), trace, atol=1e-10)
    np.testing.assert_allclose(x.sum(axis=(0, 2)), 1, atol=1e-10)
    np.testing.assert_allclose(project_affine(x, trace), x, atol=1e-10)
    np.testing.assert_allclose(x, x.transpose(0, 2, 1), atol=1e-12)
    # The nearest such point: the step to it is orthogonal to every feasible direction.
    other = project_affine(m + np.random.default_rng(1).normal(size=7)[None, :, None] * np.eye(7), trace)
    other = (other + other.transpose(0, 2, 1)) / 2
    assert abs(((m - x) * (other - x)).sum()) < 1e-9
    # Independent reference: least squares on the equations.
    rows = [np.kron(np.eye(blocks)[b], np.eye(7).ravel()) for b in range(blocks)]
    for i in range(7):
        e = np.zeros((7, 7))
        e[i] = 0.5
        rows.append(np.tile((e + e.T).ravel(), blocks))
    a, right = np.array(rows), np.array([trace] * blocks + [1.0] * 7)
    least = m.ravel() + np.linalg.pinv(a) @ (right - a @ m.ravel())
    np.testing.assert_allclose(x.ravel(), least, atol=1e-9)


def test_psd_part_is_the_nearest_psd_matrix():
    m = np.diag([2.0, -1.0, 0.5])[None]
    np.testing.assert_allclose(psd_part(m), np.diag([2.0, 0.0, 0.5])[None], atol=1e-12)


def test_equal_round_covariances_give_the_kmeans_program():
    x, k = points(15), 3
    ours = solve_sdp(likelihood_costs(x, np.stack([np.eye(3)] * k)), 1.0, steps=6000, tol=1e-6)
    theirs = solve_sdp(squared_distances(x)[None] / 2, k, steps=6000, tol=1e-6)
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-3)


def by_cutting_planes(cost_Bnn, trace, tol=1e-6):
    """Optimum of the program by linear programs: X >= 0 meets the equations, and every eigenvector of a block with a
    negative eigenvalue adds the cut v'Xv >= 0 (Kelley, J. SIAM 8, 1960). A bound from below at every round."""
    blocks, n = cost_Bnn.shape[:2]
    i, j = np.triu_indices(n)
    times = np.where(i == j, 1.0, 2.0)
    traces = np.kron(np.eye(blocks), (i == j).astype(float))
    rows = np.tile(np.array([(i == r) | (j == r) for r in range(n)], dtype=float), blocks)
    equations, right = np.vstack([traces, rows]), np.array([trace] * blocks + [1.0] * n)
    cuts = np.zeros((1, blocks * len(i)))
    for _ in range(300):
        found = linprog(
            (cost_Bnn[:, i, j] * times).ravel(), A_ub=cuts, b_ub=np.zeros(len(cuts)), A_eq=equations, b_eq=right
        )
        x_Bnn = np.zeros((blocks, n, n))
        x_Bnn[:, i, j] = x_Bnn[:, j, i] = found.x.reshape(blocks, -1)
        value_Bn, vector_Bnn = np.linalg.eigh(x_Bnn)
        if value_Bn.min() > -tol:
            return found.fun
        for b, v in ((b, vector_Bnn[b, :, e]) for b, e in zip(*np.nonzero(value_Bn < -tol / 10), strict=True)):
            cut = np.zeros((blocks, len(i)))
            cut[b] = -times * v[i] * v[j]
            cuts = np.vstack([cuts, cut.ravel()])
    raise AssertionError("cutting planes did not converge")


@pytest.mark.parametrize(("n", "k"), [(7, 2), (8, 3), (9, 2)])
def test_solver_against_cutting_planes(n, k):
    x = points(n)
    cost = likelihood_costs(x, label_covariances(x, np.arange(n) % k, k, 0.05))
    for costs, trace in ((cost, 1.0), (squared_distances(x)[None] / 2, float(k))):
        ours = solve_sdp(costs, trace, steps=10000, tol=1e-6)
        assert ours.objective == pytest.approx(by_cutting_planes(costs, trace), rel=1e-4, abs=2e-4)
        assert ours.primal < 1e-6


def test_optimum_is_below_every_partition():
    """A relaxation: brute force over all partitions of 8 points into 2 groups."""
    x = points(8)
    cost = likelihood_costs(x, label_covariances(x, np.arange(8) % 2, 2, 0.05))
    partitions = [np.array(label) for label in product((0, 1), repeat=8) if 0 < sum(label) < 8]
    best = min((cost * hard_blocks(label, 2)).sum() for label in partitions)
    assert solve_sdp(cost, 1.0, steps=10000, tol=1e-6).objective <= best + 1e-4


def test_without_the_determinant_the_widest_group_takes_everything():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(12, 2)) * 0.3, rng.normal(size=(12, 2)) * 0.3 + 3])
    covariance = np.stack([np.eye(2) * 0.09, np.eye(2) * 25.0])
    cost = likelihood_costs(x, covariance)
    without = cost - np.linalg.slogdet(covariance)[1][:, None, None]
    share = [block_memberships(solve_sdp(c, 1.0, steps=1500, tol=1e-5).x_Bnn)[:, 1].sum() for c in (cost, without)]
    assert share[1] > 20 > share[0]


def test_distances_are_not_negative_far_from_the_origin():
    x = np.random.default_rng(0).normal(size=(20, 4)) + 1e7
    x[1] = x[0]
    for covariance in (None, np.diag([1e-4, 1.0, 1.0, 1.0])):
        d = squared_distances(x, covariance)
        assert d.min() == 0
        assert (np.diag(d) == 0).all()
    np.testing.assert_allclose(squared_distances(x), squared_distances(x - 1e7), atol=1e-6)


def test_fewer_members_than_dimensions_need_the_ridge():
    x = np.random.default_rng(0).normal(size=(8, 5))
    label = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    covariance = label_covariances(x, label, 2, 0.01)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert np.isfinite(label_deviance(x, label, 2, 0.01))
    one = label_covariances(x, np.array([0] + [1] * 7), 2, 0.01)
    assert np.linalg.eigvalsh(one).min() > 0


def test_mixture_against_scikit_learn():
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) * [3, 0.5] + 3])
    label = np.repeat([0, 1], 60)
    fit = fit_mixture(x, label, 2, ridge=1e-9, n_iter=500, tol=1e-9)
    assert (np.diff(fit.log_likelihoods) > -1e-9).all()
    precisions = np.linalg.inv(np.stack([np.cov(x[label == g].T, bias=True) for g in (0, 1)]))
    reference = GaussianMixture(
        2, tol=1e-9, max_iter=500, reg_covar=0, weights_init=[0.5, 0.5], precisions_init=precisions,
        means_init=np.stack([x[label == g].mean(axis=0) for g in (0, 1)]),
    ).fit(x)  # fmt: skip
    assert fit.log_likelihoods[-1] == pytest.approx(reference.score(x), abs=1e-4)
    np.testing.assert_allclose(fit.means[-1], reference.means_, atol=1e-2)
