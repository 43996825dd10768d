"""Flow diffusion again, on edges weighed by what the labels or the attributes of their ends say."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation
from tasks.graphs.adjacency import graph_of
from tasks.graphs.flow_diffusion import DiffusionSettings, diffuse
from tasks.graphs.local_cluster import cluster_arrays, local_clusters
from tasks.graphs.queries import granted_labels, measure_of, query_of, rng_of
from tasks.graphs.reweighting import weights_for
from tasks.progress import report


def label_flow_diffusion(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    weights: Literal["labels", "attributes", "none"] = "labels",
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.05,
    gamma: Annotated[float, Field(ge=0)] = 0.02,
    seed: int,
) -> Model:
    """LFD (de Luca, Fountoulakis & Yang, ICLR 2024, arXiv 2310.08031): diffusion where disagreeing edges are thin.

    Parameters
    ----------
    weights: `labels`: an edge whose ends have different labels weighs `epsilon`. `attributes`: exp(-gamma ||x_i -
        x_j||^2) of the embeddings, weighted flow diffusion (Yang & Fountoulakis, ICML 2023, arXiv 2301.13187). `none`:
        the plain graph, which gives `flow_diffusion` again to the bit.
    epsilon: 1 is plain diffusion, values near 0 follow the labels alone.
    gamma: how fast an edge thins with the distance of its ends; the distances are squared Euclidean.

    Masses, sinks, tolerance and rounding are those of step `flow_diffusion`, and so are the seed vertices and the
    random order of the pushes. Conductance, by which the mass is chosen, is that of the weighted graph.

    Returns the arrays of `flow_diffusion`. Raises ValueError: clusters of another step; no labels (`labels`) or no
    embedding (`attributes`).
    """
    graph, found = graph_of(dataset), local_clusters(clusters.arrays, "label_flow_diffusion")
    if "diffusion" not in clusters.meta:
        raise ValueError(
            "label_flow_diffusion takes its masses from step 'flow_diffusion', which did not run before it"
        )
    settings = DiffusionSettings(**clusters.meta["diffusion"])
    edge_weights = weights_for(graph, weights, pseudo_labels, representation, epsilon=epsilon, gamma=gamma)
    given, again = granted_labels(dataset), []
    for position, cluster in enumerate(found):
        vertex = cluster.seed_vertex
        measure = measure_of(query_of(dataset, vertex, given), settings.sink, clusters.meta["target"])
        again.append(diffuse(graph, vertex, measure, settings, edge_weights(position, vertex), rng_of(seed, position)))
        report(position + 1, len(found))
    return Model(
        arrays=cluster_arrays(again),
        meta={"method": "flow_diffusion", "weights": weights, "epsilon": epsilon, "gamma": gamma},
    )
