"""k-means over the units of a representation."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.kmeans import assign, fit_kmeans

Count = Annotated[int, Field(ge=1)]


def kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Count,
    spherical: bool = False,
    n_iter: Count = 25,
    n_init: Count = 1,
    fit_on: Literal["train", "all"] = "train",
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Clusters:
    """k-means (Lloyd 1982) from k-means++ starts, by faiss; spherical k-means (Dhillon & Modha 2001) on request.

    Parameters
    ----------
    k: number of clusters, each non-empty on the rows it was fitted on.
    spherical: compare directions: assignment by largest cosine, centroids of unit length.
    n_iter: Lloyd iterations. n_init: independent starts, the one of lowest inertia is kept.
    fit_on: units whose samples are in split `train`, or all units, place the centroids.
    device: `cuda` uses faiss's GPU index where the installed faiss has one.

    Every unit is assigned to its nearest centroid, whatever `fit_on`: table `units` (unit, cluster, sample),
    `centroids` float32 [k, d] in the space of the (if spherical: normalised) embedding; meta `n_clusters`,
    `spherical`, `inertia` (sum of squared distances over the units fitted on).

    Raises ValueError: `k` above the number of (distinct) rows, rows that are not finite or zero if `spherical`.
    """
    embedding = representation.arrays["embedding"]
    units = representation.tables["units"]
    sample = units["sample"].to_numpy()
    rows = np.arange(len(units))
    if fit_on == "train":
        rows = np.flatnonzero(np.isin(sample, dataset.rows("train")))
    fit = fit_kmeans(embedding[rows], k, spherical=spherical, n_iter=n_iter, n_init=n_init, seed=seed, device=device)
    cluster = fit.labels
    if fit_on == "train":
        cluster = assign(embedding, fit.centroids, spherical=spherical, device=device)
        # A batch of another size may round differently; what was fitted stays as it was fitted.
        cluster[rows] = fit.labels
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": sample})},
        {"centroids": fit.centroids},
        meta={"n_clusters": k, "spherical": spherical, "inertia": fit.inertia},
    )
