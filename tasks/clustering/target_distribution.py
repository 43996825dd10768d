"""Target assignments that a clustering network is fitted to.

Shape legend: n samples, K clusters, d dimensions.
"""

import warnings
from typing import Literal

import numpy as np

Mode = Literal["squared", "sqrt", "hard", "none"]

LEAST_MASS = 1e-6


def target_assignments(p_nK: np.ndarray, mode: Mode) -> np.ndarray:
    """Q [n, K], rows summing to 1, from soft assignments P [n, K] whose column sums are f_k.

    `squared`: p^2 / f, normalised (DEC: Xie et al., ICML 2016, arXiv 1511.06335, eq. 3; the code of DEPICT): sharpens.
    `sqrt`: p / sqrt(f), normalised (DEPICT, arXiv 1704.06327, section 3.1, nearly the minimiser of KL(Q||P) + KL(mean of
    Q || uniform)): balances, hardly sharpens. `hard`: one at the largest entry. `none`: P itself.

    A cluster of mass below 1e-6 is taken to have that mass, with a warning. Raises ValueError: P is not [n, K], has an entry
    that is negative or not finite, or rows that do not sum to 1.
    """
    p_nK = np.asarray(p_nK, dtype=np.float64)
    if p_nK.ndim != 2 or p_nK.size == 0:
        raise ValueError(f"assignments must be a non-empty [n, K] array, got shape {p_nK.shape}")
    if not np.isfinite(p_nK).all() or (p_nK < 0).any() or np.abs(p_nK.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError("assignments must be probabilities: finite, not negative, each row summing to 1")
    if mode == "none":
        return p_nK
    if mode == "hard":
        return np.eye(p_nK.shape[1])[p_nK.argmax(axis=1)]
    mass_K = p_nK.sum(axis=0)
    if (mass_K < LEAST_MASS).any():
        dead = np.flatnonzero(mass_K < LEAST_MASS)
        warnings.warn(f"clusters {dead.tolist()} have lost all samples", stacklevel=2)
        mass_K = np.maximum(mass_K, LEAST_MASS)
    weighted_nK = p_nK**2 / mass_K if mode == "squared" else p_nK / np.sqrt(mass_K)
    return weighted_nK / weighted_nK.sum(axis=1, keepdims=True)


def unit_centroids(centroids_Kd: np.ndarray) -> np.ndarray:
    """Centroids scaled to unit length, the first weights of a soft-max layer over clusters.

    Raises ValueError: a zero or non-finite centroid, or two of one direction, which no such layer can tell apart.
    """
    centroids_Kd = np.asarray(centroids_Kd, dtype=np.float64)
    length_K = np.linalg.norm(centroids_Kd, axis=1)
    if not np.isfinite(length_K).all() or (length_K == 0).any():
        bad = int((~np.isfinite(length_K) | (length_K == 0)).argmax())
        raise ValueError(f"clusters: centroid {bad} is zero or not finite and has no direction")
    unit_Kd = centroids_Kd / length_K[:, None]
    cosine_KK = unit_Kd @ unit_Kd.T
    np.fill_diagonal(cosine_KK, -1)
    if cosine_KK.max(initial=-1) > 1 - 1e-9:
        a, b = np.unravel_index(cosine_KK.argmax(), cosine_KK.shape)
        raise ValueError(f"clusters: centroids {a} and {b} have one direction; a soft-max layer cannot tell them apart")
    return unit_Kd


def softmax_rows(logits_nK: np.ndarray) -> np.ndarray:
    """Soft-max of each row, float64."""
    logits_nK = np.asarray(logits_nK, dtype=np.float64)
    exponentials_nK = np.exp(logits_nK - logits_nK.max(axis=1, keepdims=True))
    return exponentials_nK / exponentials_nK.sum(axis=1, keepdims=True)
