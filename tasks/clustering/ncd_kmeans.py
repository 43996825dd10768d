"""k-means for novel classes beside known ones: the known centroids repel the start and then stay out of it.

Troisemaine et al., arXiv 2311.05440, section on NCD k-means; seeding after Arthur & Vassilvitskii (SODA 2007).

Shape legend: N rows, D columns, C known classes, K novel clusters.
"""

import numpy as np
from scipy.spatial.distance import cdist

from tasks.clustering.kmeans import KMeansFit


def fit_ncd_kmeans(
    x_ND: np.ndarray,
    known_CD: np.ndarray,
    k: int,
    *,
    power: int = 2,
    n_init: int = 10,
    n_iter: int = 300,
    tolerance: float = 1e-4,
    seed: int,
) -> KMeansFit:
    """Lloyd's iterations from `n_init` starts of `ncd_seeding`; rows go to novel centroids only and move only these.

    A run ends after `n_iter` iterations or once the squared sum of the centroids' shifts is below `tolerance`. The
    run of least inertia, the sum of distances to the own centroid to the `power`, is kept. An empty centroid stays.
    `known_CD` may have no rows; it is never changed.

    Raises ValueError: `k` outside 1..N.
    """
    if not 1 <= k <= len(x_ND):
        raise ValueError(f"k must be 1..{len(x_ND)} (the novel rows), got {k}")
    x_ND = np.asarray(x_ND, dtype=np.float64)
    best: KMeansFit | None = None
    for child in np.random.SeedSequence(seed).spawn(n_init):
        centroid_KD = x_ND[ncd_seeding(x_ND, known_CD, k, power=power, rng=np.random.default_rng(child))]
        for _ in range(n_iter):
            before_KD = centroid_KD
            centroid_KD = _moved(x_ND, before_KD)
            if np.linalg.norm(centroid_KD - before_KD, axis=1).sum() ** 2 < tolerance:
                break
        # What is returned is what `assign` would say of the centroids as they are stored.
        centroid_KD = centroid_KD.astype(np.float32)
        distance_NK = cdist(x_ND, centroid_KD)
        inertia = float((distance_NK.min(axis=1) ** power).sum())
        if best is None or inertia < best.inertia:
            best = KMeansFit(distance_NK.argmin(axis=1).astype(np.int64), centroid_KD, inertia)
    assert best is not None
    return best


def ncd_seeding(x_ND: np.ndarray, known_CD: np.ndarray, k: int, *, power: int, rng: np.random.Generator) -> np.ndarray:
    """Rows int64 [k] drawn one by one with probability proportional to the distance, to the `power`, to the nearest
    of the known centroids and the rows drawn before. Without known centroids the first is drawn evenly.

    Once every row lies on a centroid, the draw is even among the rows not drawn yet.
    """
    nearest_N = cdist(x_ND, known_CD).min(axis=1) if len(known_CD) else np.ones(len(x_ND))
    chosen: list[int] = []
    for _ in range(k):
        weight_N = nearest_N**power
        if not weight_N.sum() > 0:
            weight_N = np.ones(len(x_ND))
            weight_N[chosen] = 0
        row = int(rng.choice(len(x_ND), p=weight_N / weight_N.sum()))
        distance_N = cdist(x_ND, x_ND[row][None])[:, 0]
        nearest_N = np.minimum(nearest_N, distance_N) if chosen or len(known_CD) else distance_N
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def _moved(x_ND: np.ndarray, centroid_KD: np.ndarray) -> np.ndarray:
    label_N = cdist(x_ND, centroid_KD).argmin(axis=1)
    member_KN = (label_N == np.arange(len(centroid_KD))[:, None]).astype(np.float64)
    size_K1 = member_KN.sum(axis=1, keepdims=True)
    return np.where(size_K1 > 0, member_KN @ x_ND / np.maximum(size_K1, 1), centroid_KD)
