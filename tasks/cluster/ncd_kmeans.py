"""k-means on the novel rows whose start keeps away from the known classes."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.ncd_kmeans import fit_ncd_kmeans
from tasks.discovery.known_and_novel import check_number, class_means, known_classes, novel_rows, space_of
from tasks.discovery.novel_clusters import novel_clusters

Count = Annotated[int, Field(ge=1)]


def ncd_kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Count,
    power: Literal[1, 2] = 2,
    n_init: Count = 10,
    n_iter: Count = 300,
    fit_on: Literal["train", "test"] = "train",
    array: str = "embedding",
    seed: int,
) -> Clusters:
    """NCD k-means of Troisemaine et al. (arXiv 2311.05440): known class means repel the seeding and are then left out.

    Parameters
    ----------
    k: number of novel classes.
    power: of the distance in the seeding and the inertia: 2 as in k-means++, 1 as in the paper's code.
    n_init: starts, the one of least inertia is kept. n_iter: most Lloyd iterations of each.
    fit_on: cluster the novel rows of `train` or of `test`. array: array of the representation.

    Returns cluster int64 of the novel rows, -1 of all others; `centroids` float32 [k, d] and `known_centroids` float32
    [C_l, d]; meta `n_clusters`, `array`.

    Raises ValueError: fewer than two known classes, no novel rows, novel rows all identical or fewer than k.
    """
    known, rows = known_classes(dataset), novel_rows(dataset, fit_on)
    x_ND = space_of(dataset, representation, array)
    check_number(k, x_ND[rows])
    known_CD = class_means(x_ND[known.rows], known.index, len(known.classes))
    fit = fit_ncd_kmeans(x_ND[rows], known_CD, k, power=power, n_init=n_init, n_iter=n_iter, seed=seed)
    units = representation.tables["units"]
    result = novel_clusters(units, rows, fit.labels, array=array, centroids=fit.centroids)
    result.meta["n_clusters"] = k
    result.arrays["known_centroids"] = known_CD.astype(np.float32)
    return result
