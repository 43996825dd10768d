"""Approximate PageRank on edges weighed by what the labels or the attributes of their ends say."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation
from tasks.graphs.adjacency import graph_of
from tasks.graphs.local_cluster import cluster_arrays, local_clusters
from tasks.graphs.pagerank import pagerank_cluster
from tasks.graphs.reweighting import weights_for
from tasks.progress import report


def label_pagerank(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    weights: Literal["labels", "attributes", "none"] = "labels",
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.05,
    gamma: Annotated[float, Field(ge=0)] = 0.02,
    teleport: Annotated[float, Field(gt=0, lt=1)] = 0.15,
    rho: Annotated[float, Field(gt=0)] = 1e-5,
) -> Model:
    """PageRank by local pushes (Andersen, Chung & Lang, FOCS 2006) on the weights of `label_flow_diffusion`.

    Parameters
    ----------
    weights, epsilon, gamma: as in `label_flow_diffusion`; `none` is plain PageRank.
    teleport, rho: as in `pagerank`.

    The seed vertices are those of the clusters. Returns the arrays of `flow_diffusion`, with p_i / degree_i as `score`.
    Raises ValueError: clusters of another step; no labels (`labels`) or no embedding (`attributes`).
    """
    graph, found = graph_of(dataset), local_clusters(clusters.arrays, "label_pagerank")
    edge_weights = weights_for(graph, weights, pseudo_labels, representation, epsilon=epsilon, gamma=gamma)
    again = []
    for position, cluster in enumerate(found):
        vertex = cluster.seed_vertex
        again.append(pagerank_cluster(graph, vertex, edge_weights(position, vertex), teleport=teleport, rho=rho))
        report(position + 1, len(found))
    return Model(
        arrays=cluster_arrays(again),
        meta={"method": "pagerank", "weights": weights, "epsilon": epsilon, "gamma": gamma},
    )
