"""The edge weights of a method's second run, from what the stages before it left."""

from __future__ import annotations

from collections.abc import Callable

from tasks.artifacts import PseudoLabels, Representation
from tasks.graphs.adjacency import Graph
from tasks.graphs.edge_weights import EdgeWeights, attribute_weights, label_weights, plain_weights


def weights_for(
    graph: Graph,
    weights: str,
    pseudo_labels: PseudoLabels,
    representation: Representation,
    *,
    epsilon: float,
    gamma: float,
) -> Callable[[int, int], EdgeWeights]:
    """`weights_for(...)(position, seed_vertex)` are the edge weights for the seed vertex at that position.

    `weights`: `labels`, `attributes` or `none`. Raises `ValueError` if the labels or the embedding are missing or do
    not fit the graph.
    """
    if weights == "labels":
        if "labels" not in pseudo_labels.arrays:
            raise ValueError("weights: 'labels' needs pseudo-labels; use step 'diffusion_node_labels' before")
        labels = pseudo_labels.arrays["labels"]
        if labels.ndim != 2 or labels.shape[1] != graph.n:
            raise ValueError(f"pseudo_labels: 'labels' has shape {labels.shape}, expected [seed vertices, {graph.n}]")
        return lambda position, seed_vertex: label_weights(graph, labels[position], epsilon, seed_vertex)
    if weights == "attributes":
        if "embedding" not in representation.arrays:
            raise ValueError("weights: 'attributes' needs attributes; use a pretrain step, or other weights")
        embedding = representation.arrays["embedding"]
        if len(embedding) != graph.n:
            raise ValueError(f"representation: {len(embedding)} units for {graph.n} vertices, not one each")
        return lambda position, seed_vertex: attribute_weights(graph, embedding, gamma)
    return lambda position, seed_vertex: plain_weights(graph)
