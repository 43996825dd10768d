"""k-means on the novel rows alone; their number of classes given or estimated."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.cluster_number import ClusterNumber, estimate_cluster_number
from tasks.clustering.kmeans import fit_kmeans
from tasks.discovery.known_and_novel import check_number, known_classes, novel_rows, space_of
from tasks.discovery.novel_clusters import novel_clusters

Count = Annotated[int, Field(ge=1)]


def novel_kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Count | Literal["auto"],
    n_init: Count = 10,
    n_iter: Count = 50,
    fit_on: Literal["train", "test"] = "train",
    array: str = "embedding",
    estimate_k: ClusterNumber | None = None,
    seed: int,
) -> Clusters:
    """k-means (Lloyd 1982) from k-means++ starts on the rows that belong to no known class.

    Clustering step of PBN (Troisemaine et al., arXiv 2311.05440) and, on the columns themselves, its k-means baseline.

    Parameters
    ----------
    k: number of novel classes, or "auto": the estimate. n_init: starts. n_iter: Lloyd iterations of each.
    fit_on: cluster the novel rows of `train`, or (as the paper's code) those of `test`.
    array: array of the representation: `embedding`, or PBN's un-normalised `latent`.
    estimate_k: also estimate k, always on `embedding` of the novel train rows: the k in least..most of largest mean
        silhouette over `runs` k-means, on at most `max_rows` rows. "auto" needs it.

    Returns cluster int64 of the novel rows, -1 of all others; `centroids` float32 [k, d]; meta `n_clusters`, `array`,
    `k_estimated`; curve `silhouette_by_k` (k, mean silhouette).

    Raises ValueError: "auto" without estimate_k, fewer than two known classes, no novel rows, novel rows all identical
    or fewer than k.
    """
    known_classes(dataset)
    rows = novel_rows(dataset, fit_on)
    x_ND = space_of(dataset, representation, array)[rows]
    estimate_seed, fit_seed = (int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(2))
    check_number(1, x_ND)
    estimate = None
    if estimate_k is not None:
        train_ND = space_of(dataset, representation, "embedding")[novel_rows(dataset)]
        estimate = estimate_cluster_number(train_ND, estimate_k, n_iter=n_iter, seed=estimate_seed)
    if k == "auto":
        if estimate is None:
            raise ValueError("k: 'auto' needs estimate_k; add it or give the number of novel classes")
        k = estimate[0]
    check_number(k, x_ND)
    fit = fit_kmeans(x_ND, k, n_init=n_init, n_iter=n_iter, seed=fit_seed)
    return novel_clusters(
        representation.tables["units"], rows, fit.labels, array=array, estimate=estimate, centroids=fit.centroids
    )
