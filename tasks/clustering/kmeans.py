"""k-means on faiss, initialised by k-means++, that leaves no cluster empty.

faiss's own defaults subsample to 256 rows a centroid, warn below 39, and start from random rows, which
ends in visibly worse optima than scikit-learn's; none of that happens here.

Shape legend: N rows, D dimensions, K clusters.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import faiss
import numpy as np
from sklearn.cluster import kmeans_plusplus

Device = Literal["cpu", "cuda"]

# k-means++ costs K passes over the rows it sees. It sees a sample of the rows once there are many,
# and beyond this many clusters random rows take its place, as in faiss.
PLUSPLUS_MAX_K = 4096
PLUSPLUS_ROWS = 16384
PLUSPLUS_ROWS_PER_CLUSTER = 32


@dataclass(frozen=True)
class KMeansFit:
    """`labels` int64 [N], `centroids` float32 [K, D], `inertia`: sum of squared distances to the own centroid."""

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float


def fit_kmeans(
    x: np.ndarray,
    k: int,
    *,
    spherical: bool = False,
    n_iter: int = 25,
    n_init: int = 1,
    seed: int,
    device: Device = "cpu",
) -> KMeansFit:
    """k-means (Lloyd 1982, IEEE Trans. Inf. Theory 28) from k-means++ starts (Arthur & Vassilvitskii, SODA 2007).

    Parameters
    ----------
    x: float [N, D], computed in float32.
    k: number of clusters; every one of them gets at least one row.
    spherical: rows are scaled to unit length, assignment is by largest cosine and a centroid is the normalised
        mean (Dhillon & Modha 2001, Machine Learning 42). `inertia` is then the sum of 2 - 2 cos.
    n_iter: Lloyd iterations. n_init: independent starts, the one with the lowest inertia is returned.
    device: `cuda` uses faiss's GPU index where the installed faiss has one, otherwise the CPU.

    `labels` equals `assign(x, centroids, spherical=spherical)`. On one CPU thread equal arguments give equal bits.

    Raises ValueError: `k` below 1, above N or above the number of distinct rows; `n_iter` or `n_init` below 1;
    `x` empty, not two-dimensional, not finite, or with a zero row if `spherical`.
    """
    x = _rows("x", x, spherical)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k > len(x):
        raise ValueError(f"k = {k} is more than the {len(x)} rows to cluster; lower k")
    for name, value in (("n_iter", n_iter), ("n_init", n_init)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    # float32 distances are |x|^2 - 2xc + |c|^2: centred rows keep them exact far from the origin.
    shift = np.zeros(x.shape[1], np.float32) if spherical else x.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = x - shift
    best: KMeansFit | None = None
    for child in np.random.SeedSequence(seed).spawn(n_init):
        centroids = _lloyd(centred, k, spherical, n_iter, np.random.default_rng(child), device)
        centroids = _fill_empty(centred, centroids, spherical, device) + shift
        labels = _nearest(x, centroids, spherical, device)
        inertia = float(_squared_distances(x, centroids, labels).sum())
        if best is None or inertia < best.inertia:
            best = KMeansFit(labels, centroids, inertia)
    assert best is not None
    return best


def assign(x: np.ndarray, centroids: np.ndarray, *, spherical: bool = False, device: Device = "cpu") -> np.ndarray:
    """Index int64 [N] of the nearest centroid of each row (largest cosine if `spherical`; ties: lower index).

    Raises ValueError: `x` or `centroids` empty, not finite, of unequal dimension, or with a zero row if `spherical`.
    """
    x, centroids = _rows("x", x, spherical), _rows("centroids", centroids, spherical)
    if x.shape[1] != centroids.shape[1]:
        raise ValueError(f"centroids have dimension {centroids.shape[1]}, x has {x.shape[1]}")
    return _nearest(x, centroids, spherical, device)


def _rows(name: str, x: np.ndarray, spherical: bool) -> np.ndarray:
    x = np.ascontiguousarray(x, dtype=np.float32)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{name} must be a non-empty [n, d] array, got shape {x.shape}")
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name}: {int((~finite).sum())} rows hold NaN or infinity, first row {int(finite.argmin())}")
    if not spherical:
        return x
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError(f"{name}: row {int((norms == 0).argmax())} is zero and has no direction; spherical needs one")
    return x / norms


def _lloyd(x: np.ndarray, k: int, spherical: bool, n_iter: int, rng: np.random.Generator, device: Device) -> np.ndarray:
    start = _start(x, k, rng)
    if spherical:
        start /= np.linalg.norm(start, axis=1, keepdims=True)
    kmeans = faiss.Kmeans(
        x.shape[1],
        k,
        niter=n_iter,
        spherical=spherical,
        seed=int(rng.integers(2**31 - 1)),
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
        gpu=device == "cuda" and faiss.get_num_gpus() > 0,
    )
    kmeans.train(x, init_centroids=start)
    return np.array(kmeans.centroids, dtype=np.float32).reshape(k, x.shape[1])


def _start(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    if k > PLUSPLUS_MAX_K:
        return x[rng.choice(len(x), k, replace=False)]
    most = max(PLUSPLUS_ROWS, PLUSPLUS_ROWS_PER_CLUSTER * k)
    if len(x) > most:
        x = x[np.sort(rng.choice(len(x), most, replace=False))]
    with warnings.catch_warnings():
        # Fewer distinct rows than k divide by a zero potential here; `_fill_empty` reports it.
        warnings.simplefilter("ignore", RuntimeWarning)
        centroids, _ = kmeans_plusplus(x, k, random_state=int(rng.integers(2**31 - 1)))
    return np.ascontiguousarray(centroids, dtype=np.float32)


def _fill_empty(x: np.ndarray, centroids: np.ndarray, spherical: bool, device: Device) -> np.ndarray:
    """Move the centroid of each empty cluster to the row farthest from its own centroid, as scikit-learn does."""
    k = len(centroids)
    # Each round lowers the inertia; a filled cluster may empty another, so there can be more than one.
    for _ in range(2 * k + 1):
        labels = _nearest(x, centroids, spherical, device)
        empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
        if len(empty) == 0:
            return centroids
        distances = _squared_distances(x, centroids, labels)
        order = np.argsort(-distances, kind="stable")
        _, first = np.unique(x[order], axis=0, return_index=True)
        if len(first) < k:
            raise ValueError(f"k = {k} is more than the {len(first)} distinct rows; lower k")
        farthest = order[np.sort(first)[: len(empty)]]
        centroids = centroids.copy()
        centroids[empty] = x[farthest]
    raise ValueError(f"k = {k}: some rows are too close to tell apart in float32; lower k")


def _nearest(x: np.ndarray, centroids: np.ndarray, spherical: bool, device: Device) -> np.ndarray:
    metric = faiss.METRIC_INNER_PRODUCT if spherical else faiss.METRIC_L2
    if not spherical:
        shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        x, centroids = x - shift, centroids - shift
    if device == "cuda" and faiss.get_num_gpus() > 0:
        _, labels = faiss.knn_gpu(faiss.StandardGpuResources(), x, centroids, 1, metric=metric)
    else:
        _, labels = faiss.knn(x, centroids, 1, metric=metric)
    return labels[:, 0].astype(np.int64)


def _squared_distances(x: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    step = 65536
    parts = [
        np.square(x[i : i + step].astype(np.float64) - centroids[labels[i : i + step]]).sum(axis=1)
        for i in range(0, len(x), step)
    ]
    return np.concatenate(parts)
