"""k-means in which no cluster may exceed a size.

Shape legend: N rows, D dimensions, K clusters.
"""

import math

import numpy as np
from sklearn.cluster import kmeans_plusplus

from tasks.clustering.kmeans import KMeansFit

SHIFT_TOLERANCE = 1e-3


def fit_balanced_kmeans(
    x_ND: np.ndarray, k: int, *, spherical: bool = False, n_iter: int = 35, cap: int | None = None, seed: int
) -> KMeansFit:
    """Capped k-means of SBCL (Hou et al., ICCV 2023, arXiv 2306.15925) from a k-means++ start.

    Each iteration assigns rows greedily over all (row, centre) pairs by falling similarity, skipping full clusters,
    then moves each centre to its mean. It stops after `n_iter` iterations or once the squared sum of the centres'
    shifts is below 1e-3. No cluster is left empty.

    Parameters
    ----------
    x_ND: float [N, D]. k: number of clusters. cap: most rows of a cluster; default ceil(N / k).
    spherical: similarity is the cosine and centres have unit length; else it is minus the squared distance.

    Raises ValueError: `x_ND` not finite, or with a zero row if `spherical`; `k` outside 1..N; `n_iter` below 1;
    `cap` * `k` below N.
    """
    x_ND = np.asarray(x_ND, dtype=np.float64)
    if x_ND.ndim != 2 or x_ND.size == 0:
        raise ValueError(f"x must be a non-empty [n, d] array, got shape {x_ND.shape}")
    finite = np.isfinite(x_ND).all(axis=1)
    if not finite.all():
        raise ValueError(f"x: {int((~finite).sum())} rows hold NaN or infinity, first row {int(finite.argmin())}")
    if not 1 <= k <= len(x_ND):
        raise ValueError(f"k must be 1..{len(x_ND)} (the rows to cluster), got {k}")
    if n_iter < 1:
        raise ValueError(f"n_iter must be at least 1, got {n_iter}")
    cap = math.ceil(len(x_ND) / k) if cap is None else cap
    if spherical:
        x_ND = _unit(x_ND)
    centre_KD, _ = kmeans_plusplus(x_ND, k, random_state=np.random.RandomState(seed % 2**32))
    labels = np.empty(0, dtype=np.int64)
    for _ in range(n_iter):
        similarity_NK = _similarity(x_ND, centre_KD, spherical)
        labels = capped_assignment(similarity_NK, cap)
        labels = _fill_empty(similarity_NK, labels)
        before_KD, centre_KD = centre_KD, _means(x_ND, labels, k, spherical)
        if np.linalg.norm(centre_KD - before_KD, axis=1).sum() ** 2 < SHIFT_TOLERANCE:
            break
    inertia = float(np.square(x_ND - centre_KD[labels]).sum())
    return KMeansFit(labels, centre_KD.astype(np.float32), inertia)


def capped_assignment(similarity_NK: np.ndarray, cap: int) -> np.ndarray:
    """Cluster int64 [N] of each row: greedy over all pairs by falling similarity, no cluster above `cap` rows.

    Ties go to the lower row, then the lower cluster. Computed by deferred acceptance (Gale & Shapley 1962): rows
    propose to clusters in order of preference, clusters keep their `cap` most similar proposers. As both sides
    rank by the same similarity, its only stable outcome is the greedy one, without a loop over N * K pairs.

    Raises ValueError: `cap` * K below N.
    """
    n, k = similarity_NK.shape
    if cap * k < n:
        raise ValueError(f"cap = {cap} leaves room for {cap * k} of {n} rows in {k} clusters; raise cap")
    preference_NK = np.argsort(-similarity_NK, axis=1, kind="stable")
    rank = np.zeros(n, dtype=np.int64)
    rows = np.arange(n)
    while True:
        labels = preference_NK[rows, rank]
        sizes = np.bincount(labels, minlength=k)
        if sizes.max() <= cap:
            return labels
        order = np.lexsort((rows, -similarity_NK[rows, labels], labels))
        place = rows - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rank[order[place >= cap]] += 1


def _fill_empty(similarity_NK: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give each empty cluster the row that fits its own cluster of several rows worst."""
    labels = labels.copy()
    sizes = np.bincount(labels, minlength=similarity_NK.shape[1])
    for empty in np.flatnonzero(sizes == 0):
        fit = np.where(sizes[labels] > 1, similarity_NK[np.arange(len(labels)), labels], np.inf)
        row = int(fit.argmin())
        sizes[labels[row]] -= 1
        sizes[empty] += 1
        labels[row] = empty
    return labels


def _similarity(x_ND: np.ndarray, centre_KD: np.ndarray, spherical: bool) -> np.ndarray:
    if spherical:
        return x_ND @ centre_KD.T
    # Without |x|^2, greedy pairs of different rows would be ranked wrongly.
    return 2 * x_ND @ centre_KD.T - np.square(x_ND).sum(axis=1)[:, None] - np.square(centre_KD).sum(axis=1)


def _means(x_ND: np.ndarray, labels: np.ndarray, k: int, spherical: bool) -> np.ndarray:
    member_KN = (labels == np.arange(k)[:, None]).astype(np.float64)
    mean_KD = member_KN @ x_ND / member_KN.sum(axis=1, keepdims=True)
    if not spherical:
        return mean_KD
    norms = np.linalg.norm(mean_KD, axis=1, keepdims=True)
    # Members that cancel out have no mean direction; the first of them stands in.
    first_KD = x_ND[(member_KN > 0).argmax(axis=1)]
    return np.where(norms > 1e-12, mean_KD / np.maximum(norms, 1e-12), first_KD)


def _unit(x_ND: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x_ND, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError(f"x: row {int((norms == 0).argmax())} is zero and has no direction; spherical needs one")
    return x_ND / norms
