"""k-means of super-voxels, or of single points.

Shape legend: P points, U units (super-voxels or points), K clusters.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.kmeans import assign, fit_kmeans
from tasks.scenes3d.clouds import points_in, supervoxels_of
from tasks.scenes3d.pooling import units_to_cluster

Count = Annotated[int, Field(ge=1)]


def supervoxel_kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    n_clusters: Count,
    metric: Literal["cosine", "euclidean"] = "cosine",
    pool: Literal["supervoxel", "none"] = "supervoxel",
    n_init: Count = 5,
    max_iter: Count = 80,
    seed: int,
) -> Clusters:
    """k-means over the super-voxels of all training scenes (PointDC: Chen et al., ICCV 2023, arXiv 2304.08965).

    Point features are scaled to length 1, averaged inside a super-voxel, and scaled again; then spherical k-means.

    Parameters
    ----------
    n_clusters: as many as classes. n_init: starts, of which the best is kept. max_iter: Lloyd iterations.
    metric: "cosine" (spherical k-means), or "euclidean", which with pool "none" leaves the features as they are.
    pool: "supervoxel", or "none": every point for itself.

    Table `units` (unit, cluster, sample): the super-voxels (points) of all scenes; `centroids` float32 [K, d]; `unit` int64
    [P]: the unit of every point; meta `n_clusters`, `pool`, `metric`.

    Raises ValueError if there are fewer (distinct) training units than clusters, or no super-voxels.
    """
    group_P = supervoxels_of(dataset) if pool == "supervoxel" else None
    embedding = np.asarray(representation.arrays["embedding"])
    spherical = metric == "cosine"
    x_UD, unit_P = units_to_cluster(embedding, group_P)
    if group_P is None and not spherical:
        x_UD = embedding
    scene_U = np.zeros(len(x_UD), dtype=np.int64)
    scene_U[unit_P] = np.asarray(dataset.arrays["scene"])
    train = np.unique(unit_P[points_in(dataset, "train")])
    fit = fit_kmeans(x_UD[train], n_clusters, spherical=spherical, n_iter=max_iter, n_init=n_init, seed=seed)
    cluster_U = assign(x_UD, fit.centroids, spherical=spherical)
    cluster_U[train] = fit.labels
    units = pd.DataFrame({"unit": np.arange(len(x_UD)), "cluster": cluster_U, "sample": scene_U})
    arrays = {"centroids": fit.centroids, "unit": unit_P}
    return Clusters({"units": units}, arrays, meta={"n_clusters": n_clusters, "pool": pool, "metric": metric})
