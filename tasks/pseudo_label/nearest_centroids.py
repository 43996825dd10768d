"""Several cluster labels per unit: the nearest centroids.

Shape legend: U units, K clusters, D dimensions, L labels per unit.
"""

from typing import Annotated

import faiss
import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, PseudoLabels, Representation


def nearest_centroids(
    representation: Representation,
    clusters: Clusters,
    *,
    l: Annotated[int, Field(ge=1)],  # noqa: E741 (the paper's symbol)
) -> PseudoLabels:
    """Multi-label cluster assignment of MLCD (An et al., ECCV 2024, arXiv 2407.17331, section 3.2).

    The positives of a unit are the `l` clusters whose centroids have the largest cosine with its embedding; the
    first is its k-means cluster (exactly so if the clustering was spherical), so `l` = 1 gives single labels.

    Parameters
    ----------
    l: positive clusters per unit, 1 to k - 1.

    Returns table `units` (unit, sample, pseudo_label = the nearest), `nearest` int64 [U, L] by falling cosine (ties:
    lower cluster first), `similarity` float32 [U, L], meta `n_clusters`.

    Raises ValueError: `l` not below the number of clusters; an embedding or centroid that is zero or not finite.
    """
    centroids_KD = _unit_rows("centroids", clusters.arrays["centroids"])
    embedding_UD = _unit_rows("embedding", representation.arrays["embedding"])
    k = len(centroids_KD)
    if l >= k:
        raise ValueError(f"l = {l} must be below the number of clusters, {k}: no negative would be left")
    similarity_UL, nearest_UL = faiss.knn(embedding_UD, centroids_KD, l, metric=faiss.METRIC_INNER_PRODUCT)
    # faiss leaves the order of equal similarities open.
    order = np.lexsort((nearest_UL, -similarity_UL))
    nearest_UL = np.take_along_axis(nearest_UL, order, axis=1).astype(np.int64)
    similarity_UL = np.take_along_axis(similarity_UL, order, axis=1).astype(np.float32)
    units = representation.tables["units"][["unit", "sample"]].assign(pseudo_label=nearest_UL[:, 0])
    return PseudoLabels({"units": units}, {"nearest": nearest_UL, "similarity": similarity_UL}, meta={"n_clusters": k})


def _unit_rows(name: str, x: np.ndarray) -> np.ndarray:
    x = np.array(x, dtype=np.float32)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{name} must be a non-empty [n, d] array, got shape {x.shape}")
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    bad = ~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0)
    if bad.any():
        raise ValueError(f"{name}: {int(bad.sum())} rows are zero or not finite, first row {int(bad.argmax())}")
    return x / norms
