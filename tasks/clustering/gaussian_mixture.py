"""EM for Gaussian mixtures from given labels, with a ridge relative to each group's own variance.

scikit-learn's `GaussianMixture` adds an absolute constant to the diagonal and cannot start from labels.

Shape legend: n points, p dimensions, K groups, R rounds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from tasks.clustering.la_sdp import ridged


@dataclass
class MixtureFit:
    """Responsibilities, mean log-likelihood after each round, means and covariances of each round."""

    responsibility_nK: np.ndarray
    log_likelihoods: list[float]
    means: list[np.ndarray]
    covariances: list[np.ndarray]


def fit_mixture(x_np: np.ndarray, label_n: np.ndarray, k: int, *, ridge: float, n_iter: int, tol: float) -> MixtureFit:
    """EM (Dempster, Laird & Rubin, JRSS B 39, 1977) with full covariances.

    Starts with the M step on hard labels; ends when the mean log-likelihood gains less than `tol`, or after `n_iter`.
    """
    responsibility_nK = (label_n[:, None] == np.arange(k)).astype(np.float64)
    fit = MixtureFit(responsibility_nK, [], [], [])
    for _ in range(n_iter):
        r_nK = fit.responsibility_nK
        size_K = r_nK.sum(axis=0) + 10 * np.finfo(float).eps
        mean_Kp = r_nK.T @ x_np / size_K[:, None]
        scatter = [(r_nK[:, [g]] * (x_np - m)).T @ (x_np - m) / size_K[g] for g, m in enumerate(mean_Kp)]
        covariance_Kpp = ridged(np.stack(scatter), x_np, ridge)
        joint_nK = np.log(size_K / size_K.sum()) + log_densities(x_np, mean_Kp, covariance_Kpp)
        total_n = logsumexp(joint_nK, axis=1, keepdims=True)
        fit.responsibility_nK = np.exp(joint_nK - total_n)
        fit.means.append(mean_Kp)
        fit.covariances.append(covariance_Kpp)
        fit.log_likelihoods.append(float(total_n.mean()))  # pyright: ignore[reportAttributeAccessIssue]
        if len(fit.log_likelihoods) > 1 and fit.log_likelihoods[-1] - fit.log_likelihoods[-2] < tol:
            break
    return fit


def log_densities(x_np: np.ndarray, mean_Kp: np.ndarray, covariance_Kpp: np.ndarray) -> np.ndarray:
    """log N(x_i; mean_k, Sigma_k), [n, K]."""
    columns = []
    for mean, covariance in zip(mean_Kp, covariance_Kpp, strict=True):
        factor = np.linalg.cholesky(covariance)
        white = solve_triangular(factor, (x_np - mean).T, lower=True)
        log_det = 2 * np.log(np.diag(factor)).sum()
        columns.append(-0.5 * ((white**2).sum(axis=0) + log_det + x_np.shape[1] * np.log(2 * np.pi)))
    return np.stack(columns, axis=1)
