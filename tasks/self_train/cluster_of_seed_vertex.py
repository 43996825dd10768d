"""No diffusion: the cluster of any clustering that holds the seed vertex. What a global method would answer."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Model
from tasks.graphs.local_cluster import Candidate, LocalCluster, cluster_arrays
from tasks.graphs.queries import draw_queries


def cluster_of_seed_vertex(
    dataset: Dataset, clusters: Clusters, *, seed_vertices: Annotated[int, Field(ge=1)] = 10, seed: int
) -> Model:
    """For each seed vertex all vertices of its cluster in table `units`, such as that of `kmeans`.

    seed_vertices: seed vertices, drawn with `seed` as `flow_diffusion` draws them: give both the same number.

    Returns the arrays of `flow_diffusion`; `touched` is n and `edges_read` 0, for attributes of all vertices are read
    and no edge is. A seed that is noise is alone. Raises ValueError: no table of clusters, or not one row per vertex.
    """
    n = len(dataset.samples)
    if "units" not in clusters.tables or len(clusters.tables["units"]) != n:
        raise ValueError(
            f"clusters: a table 'units' with one row for each of {n} vertices is needed; use e.g. 'kmeans'"
        )
    cluster = clusters.tables["units"]["cluster"].to_numpy()
    found = []
    for query in draw_queries(dataset, seed_vertices, seed):
        own = cluster[query.vertex]
        vertices = np.flatnonzero(cluster == own) if own >= 0 else np.array([query.vertex])
        candidates = [Candidate(0.0, 1.0, vertices)]
        found.append(LocalCluster(query.vertex, candidates, 0, vertices, np.ones(len(vertices)), n, 0))
    return Model(arrays=cluster_arrays(found), meta={"method": "clusters"})
