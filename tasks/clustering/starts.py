"""Labels to start a mixture from, the same for every algorithm that is given the same seed.

Shape legend: n points, p dimensions, K groups, S starts.
"""

from typing import Literal

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from tasks.clustering.kmeans import fit_kmeans
from tasks.clustering.la_sdp import solve_sdp, squared_distances

Init = Literal["random", "kmeans", "kmeans_sdp", "hierarchical"]


def start_labels(x_np: np.ndarray, k: int, init: Init, n_init: int, seed: int) -> np.ndarray:
    """int64 [S, n], every group non-empty. `random`: uniform labels, `n_init` of them; `kmeans`: `n_init` fits of one
    k-means++ start each; `kmeans_sdp` and `hierarchical` (Ward): one start, since they have no chance in them."""
    if init == "random":
        return np.stack([_uniform(len(x_np), k, stream) for stream in np.random.SeedSequence(seed).spawn(n_init)])
    if init == "kmeans":
        seeds = np.random.default_rng(seed).integers(2**31 - 1, size=n_init)
        return np.stack([fit_kmeans(x_np, k, seed=int(s)).labels for s in seeds])
    if init == "hierarchical":
        return fcluster(linkage(x_np, "ward"), k, "maxclust")[None].astype(np.int64) - 1
    return sdp_labels(x_np, k, steps=600, tol=1e-3, rho=1.0, seed=seed)[0][None]


def _uniform(n: int, k: int, stream: np.random.SeedSequence) -> np.ndarray:
    rng = np.random.default_rng(stream)
    label = rng.integers(k, size=n)
    while len(np.unique(label)) < k:
        label = rng.integers(k, size=n)
    return label


def sdp_labels(x_np: np.ndarray, k: int, *, steps: int, tol: float, rho: float, seed: int):
    """Labels int64 [n] of the k-means program of Peng & Wei (2007), rounded by k-means on the K leading eigenvectors,
    and the solution."""
    solution = solve_sdp(squared_distances(x_np)[None] / 2, k, steps=steps, tol=tol, rho=rho)
    vectors_nK = np.linalg.eigh(solution.x_Bnn[0])[1][:, -k:]
    return fit_kmeans(vectors_nK, k, n_init=10, seed=seed).labels, solution


def check_points(x_np: np.ndarray, k: int, max_points: int | None = None) -> None:
    """ValueError: k below 2 or above the points, values not finite, all points equal, more than `max_points`."""
    if x_np.ndim != 2 or x_np.size == 0:
        raise ValueError(f"representation: needs a non-empty [n, p] embedding, got shape {x_np.shape}")
    if not 2 <= k <= len(x_np):
        raise ValueError(f"k = {k} must be at least 2 and at most the {len(x_np)} points to cluster")
    if not np.isfinite(x_np).all():
        raise ValueError("representation: the embedding has NaN or infinite values; clean the data")
    if (x_np == x_np[0]).all():
        raise ValueError("representation: all points are equal, so every distance is 0; there is nothing to cluster")
    if max_points is not None and len(x_np) > max_points:
        raise ValueError(
            f"max_points: {len(x_np)} points are more than {max_points}, and the program grows with their cube; "
            "set 'subsample' (the rest is classified later) or raise 'max_points'"
        )
