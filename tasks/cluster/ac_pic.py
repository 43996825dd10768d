"""Agglomerative clustering of a representation along a graph of neighbours."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Representation
from tasks.clustering.path_integral import path_integral_clustering


def ac_pic(
    representation: Representation,
    *,
    k: Annotated[int, Field(ge=1)],
    neighbours: Annotated[int, Field(ge=1)] = 20,
    a: Annotated[float, Field(gt=0)] = 1.0,
    z: Annotated[float, Field(gt=0, lt=1)] = 0.01,
) -> Clusters:
    """Agglomerative clustering via maximum incremental path integral (Zhang, Zhao & Wang, Pattern Recognition 46, 2013).

    k: number of clusters. neighbours: edges of the graph from each unit. a: width of its weights, as a multiple of the mean
    squared distance to those neighbours. z: how much longer paths count less.

    Returns table `units` (unit, cluster, sample) and `centroids` float32 [k, d], the means; meta `n_clusters`.

    Raises ValueError: `k` above the number of first clusters, too few units, an embedding that is not finite.
    """
    x_nd = np.array(representation.arrays["embedding"], dtype=np.float32)
    cluster = path_integral_clustering(x_nd, k, neighbours=neighbours, a=a, z=z)
    units = representation.tables["units"][["unit", "sample"]].assign(cluster=cluster)
    centroids = np.stack([x_nd[cluster == c].mean(axis=0) for c in range(k)])
    return Clusters({"units": units}, {"centroids": centroids}, meta={"n_clusters": k})
