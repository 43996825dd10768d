"""Approximate personalised PageRank on the plain graph, around each seed vertex."""

from typing import Annotated

from pydantic import Field

from tasks.artifacts import Clusters, Dataset
from tasks.graphs.adjacency import graph_of
from tasks.graphs.edge_weights import plain_weights
from tasks.graphs.local_cluster import cluster_arrays
from tasks.graphs.pagerank import pagerank_cluster
from tasks.graphs.queries import draw_queries
from tasks.progress import report

Teleport = Annotated[float, Field(gt=0, lt=1)]
Residual = Annotated[float, Field(gt=0)]


def pagerank(
    dataset: Dataset,
    *,
    seed_vertices: Annotated[int, Field(ge=1)] = 10,
    teleport: Teleport = 0.15,
    rho: Residual = 1e-5,
    seed: int,
) -> Clusters:
    """PageRank by local pushes and a sweep cut (Andersen, Chung & Lang, FOCS 2006, sections 3 and 4).

    Parameters
    ----------
    seed_vertices: seed vertices, drawn with `seed` as `flow_diffusion` draws them.
    teleport: probability of a return to the seed in each step of the lazy walk.
    rho: a vertex whose residual is below this times its degree is left; work is at most about 1 / (rho teleport).

    Returns the arrays of `flow_diffusion`, with p_i / degree_i as `score`. No size of the target is needed.

    Raises ValueError: no graph; fewer granted labels than `seed_vertices`. Warns where a seed has no neighbour.
    """
    graph = graph_of(dataset)
    queries = draw_queries(dataset, seed_vertices, seed)
    clusters = []
    for position, query in enumerate(queries):
        clusters.append(pagerank_cluster(graph, query.vertex, plain_weights(graph), teleport=teleport, rho=rho))
        report(position + 1, len(queries))
    return Clusters(arrays=cluster_arrays(clusters), meta={"method": "pagerank"})
