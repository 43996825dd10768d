"""Clustering as a semidefinite program: the likelihood-adjusted one and Peng and Wei's for k-means, by ADMM.

Shape legend: n points, p dimensions, K groups, B blocks (K, or 1 for the k-means program).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

# Step size: looked at every 20 steps, changed by 1.7 when one residual is 3 times the other, fixed after step 400.
BALANCE_EVERY, BALANCE_RATIO, BALANCE_FACTOR, BALANCE_UNTIL = 20, 3.0, 1.7, 400
# A group on one point has no shape. Its covariance is never below this share of the variance of all points.
LEAST_VARIANCE = 1e-6


@dataclass
class Solution:
    """Of `solve_sdp`: `x_Bnn` meets the equations exactly, is nearly PSD and non-negative; `steps` taken; relative
    residuals `primal` and `dual`; the state to start the next solve from."""

    x_Bnn: np.ndarray
    steps: int
    primal: float
    dual: float
    objective: float
    state: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def solve_sdp(
    cost_Bnn: np.ndarray,
    trace: float,
    *,
    steps: int,
    tol: float,
    rho: float = 1.0,
    state: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float] | None = None,
) -> Solution:
    """Minimise sum_b <C_b, X_b> with X_b PSD and non-negative, tr X_b = `trace`, (sum_b X_b) 1 = 1.

    ADMM (Boyd et al., Foundations and Trends in Machine Learning 3, 2011) with one copy of X for each of affine set,
    PSD cone and non-negative orthant. With B = K and trace 1: program of Zhuang, Chen & Yang (ICML 2023, arXiv
    2209.15097); with B = 1 and trace K: Peng & Wei (SIAM J. Optim. 18, 2007).

    steps: most steps. tol: stop when both relative residuals are below it. rho: first step size, on costs scaled by
    their mean size. state: `Solution.state` of a similar problem.
    """
    scale = float(np.abs(cost_Bnn).mean())
    c = cost_Bnn / (scale if scale > 0 else 1.0)
    norm_c = max(float(np.linalg.norm(c)), 1e-12)
    if state is None:
        n = c.shape[1]
        y = np.broadcast_to(np.eye(n) * trace / n, c.shape).copy()
        w, u, v = y.copy(), np.zeros_like(c), np.zeros_like(c)
    else:
        y, w, u, v, rho = (np.array(part) if isinstance(part, np.ndarray) else part for part in state)  # pyright: ignore[reportAssignmentType]
    x, primal, dual, step = y, np.inf, np.inf, 0
    for step in range(1, steps + 1):
        x = project_affine((y - u + w - v) / 2 - c / (2 * rho), trace)
        before = y + w
        y = psd_part(x + u)
        w = np.maximum(x + v, 0)
        u += x - y
        v += x - w
        primal = float(np.hypot(np.linalg.norm(x - y), np.linalg.norm(x - w)) / max(np.linalg.norm(x), 1e-12))
        dual = float(rho * np.linalg.norm(y + w - before) / max(norm_c, rho * np.linalg.norm(u + v)))
        if primal < tol and dual < tol:
            break
        if step % BALANCE_EVERY == 0 and step <= BALANCE_UNTIL:
            factor = BALANCE_FACTOR if primal > BALANCE_RATIO * dual else 1.0
            factor = 1 / BALANCE_FACTOR if dual > BALANCE_RATIO * primal else factor
            rho *= factor
            u /= factor
            v /= factor
    return Solution(x, step, primal, dual, float((cost_Bnn * x).sum()), (y, w, u, v, rho))  # pyright: ignore[reportArgumentType]


def project_affine(m_Bnn: np.ndarray, trace: float) -> np.ndarray:
    """Nearest symmetric blocks with tr X_b = `trace` and (sum_b X_b) 1 = 1, in closed form, for symmetric input.

    The Lagrangian gives X_b = M_b + t_b I + (u 1' + 1 u') / 2; s = 1'u follows from summing all equations.
    """
    blocks, n = m_Bnn.shape[:2]
    row_n = m_Bnn.sum(axis=(0, 2))
    trace_B = np.trace(m_Bnn, axis1=1, axis2=2)
    s = (n - row_n.sum() - blocks * trace + trace_B.sum()) / (blocks * (n - 1))
    t_B = (trace - trace_B - s) / n
    u_n = 2 / (blocks * n) * (1 - row_n - t_B.sum() - blocks * s / 2)
    return m_Bnn + t_B[:, None, None] * np.eye(n) + (u_n[:, None] + u_n[None, :]) / 2


def psd_part(m_Bnn: np.ndarray) -> np.ndarray:
    """Nearest positive semidefinite blocks."""
    value_Bn, vector_Bnn = np.linalg.eigh((m_Bnn + m_Bnn.transpose(0, 2, 1)) / 2)
    return (vector_Bnn * np.maximum(value_Bn, 0)[:, None, :]) @ vector_Bnn.transpose(0, 2, 1)


def squared_distances(x_np: np.ndarray, covariance_pp: np.ndarray | None = None) -> np.ndarray:
    """(x_i - x_j)' Sigma^-1 (x_i - x_j), [n, n]; Euclidean without a covariance. Never negative, 0 on the diagonal."""
    centred = x_np - x_np.mean(axis=0)
    if covariance_pp is not None:
        centred = solve_triangular(np.linalg.cholesky(covariance_pp), centred.T, lower=True).T
    square_n = (centred**2).sum(axis=1)
    distance_nn = np.maximum(square_n[:, None] + square_n[None, :] - 2 * centred @ centred.T, 0)
    np.fill_diagonal(distance_nn, 0)
    return distance_nn


def likelihood_costs(x_np: np.ndarray, covariance_Kpp: np.ndarray) -> np.ndarray:
    """C_k = log det(Sigma_k) 11' + D_k / 2, [K, n, n]: -2 log-likelihood of the labels is sum_k <C_k, Z_k>."""
    log_det_K = np.linalg.slogdet(covariance_Kpp)[1]
    return np.stack([d + squared_distances(x_np, s) / 2 for d, s in zip(log_det_K, covariance_Kpp, strict=True)])


def membership_covariances(x_np: np.ndarray, z_Knn: np.ndarray, ridge: float) -> np.ndarray:
    """Sigma_k = (X' diag(Z_k 1) X - X' Z_k X) / (1' Z_k 1), without centroids; plus `ridge` times its mean variance."""
    x_np = x_np - x_np.mean(axis=0)  # changes nothing but the rounding
    degree_Kn = z_Knn.sum(axis=2)
    size_K = np.maximum(degree_Kn.sum(axis=1), 1.0)
    scatter_Kpp = np.einsum("kn,np,nq->kpq", degree_Kn, x_np, x_np) - np.einsum("np,knm,mq->kpq", x_np, z_Knn, x_np)
    return ridged(scatter_Kpp / size_K[:, None, None], x_np, ridge)


def label_covariances(x_np: np.ndarray, label_n: np.ndarray, k: int, ridge: float) -> np.ndarray:
    """Covariances (division by n_k) of hard groups, with the same ridge."""
    covariance_Kpp = np.zeros((k, x_np.shape[1], x_np.shape[1]))
    for group in range(k):
        member = x_np[label_n == group]
        if len(member):
            centred = member - member.mean(axis=0)
            covariance_Kpp[group] = centred.T @ centred / len(member)
    return ridged(covariance_Kpp, x_np, ridge)


def ridged(covariance_Kpp: np.ndarray, x_np: np.ndarray, ridge: float) -> np.ndarray:
    """Symmetric, positive definite covariances: `ridge` times the mean variance of each on its diagonal."""
    p = x_np.shape[1]
    symmetric = (covariance_Kpp + covariance_Kpp.transpose(0, 2, 1)) / 2
    least = LEAST_VARIANCE * float(x_np.var(axis=0).mean())
    variance_K = np.trace(symmetric, axis1=1, axis2=2) / p
    # The membership form can be slightly indefinite where the solver stopped early.
    value_Kp, vector_Kpp = np.linalg.eigh(symmetric)
    symmetric = (vector_Kpp * np.maximum(value_Kp, 0)[:, None, :]) @ vector_Kpp.transpose(0, 2, 1)
    return symmetric + (ridge * np.maximum(variance_K, 0) + least)[:, None, None] * np.eye(p)


def hard_blocks(label_n: np.ndarray, k: int) -> np.ndarray:
    """Z_k = 1_{G_k} 1_{G_k}' / n_k, [K, n, n]; zero for an empty group."""
    member_Kn = (label_n[None, :] == np.arange(k)[:, None]).astype(np.float64)
    return member_Kn[:, :, None] * member_Kn[:, None, :] / np.maximum(member_Kn.sum(axis=1), 1)[:, None, None]


def label_deviance(x_np: np.ndarray, label_n: np.ndarray, k: int, ridge: float) -> float:
    """-2 log-likelihood of hard labels, means profiled out: sum_k n_k log det Sigma_k + sum_i |x_i - mean_k|^2_Sigma_k."""
    total = 0.0
    for group, covariance_pp in enumerate(label_covariances(x_np, label_n, k, ridge)):
        member = x_np[label_n == group]
        if len(member):
            factor = np.linalg.cholesky(covariance_pp)
            white = solve_triangular(factor, (member - member.mean(axis=0)).T, lower=True)
            total += len(member) * 2 * float(np.log(np.diag(factor)).sum()) + float((white**2).sum())
    return total


def block_memberships(z_Knn: np.ndarray) -> np.ndarray:
    """Soft memberships [n, K]: row sums of the blocks, clipped at 0, adding to 1 over the groups."""
    z_nK = np.maximum(z_Knn.sum(axis=2).T, 0)
    return z_nK / z_nK.sum(axis=1, keepdims=True)
