"""Weights of the edges of one vertex, worked out when a local method first reads that vertex."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.graphs.adjacency import Graph

# Weights float64 of the edges to `graph.neighbours(vertex)`, in that order.
EdgeWeights = Callable[[int], np.ndarray]

# An edge between very unlike vertices keeps this share, so that no vertex loses all of its degree to underflow.
LEAST_SIMILARITY = 1e-9


def plain_weights(graph: Graph) -> EdgeWeights:
    """The graph's own weights."""
    return graph.edge_weights


def label_weights(graph: Graph, labels: np.ndarray, epsilon: float, seed_vertex: int) -> EdgeWeights:
    """The graph's weights, times `epsilon` where the ends' `labels` {0, 1} [n] differ (de Luca et al., ICLR 2024).

    The seed vertex counts as labelled 1. `epsilon` = 1 gives back the graph's own weights, to the bit.
    """

    def weights(vertex: int) -> np.ndarray:
        neighbours = graph.neighbours(vertex)
        own = 1 if vertex == seed_vertex else labels[vertex]
        other = np.where(neighbours == seed_vertex, 1, labels[neighbours])
        return graph.edge_weights(vertex) * np.where(other == own, 1.0, epsilon)

    return weights


def attribute_weights(graph: Graph, embedding: np.ndarray, gamma: float) -> EdgeWeights:
    """The graph's weights times exp(-gamma ||x_i - x_j||^2) (Yang & Fountoulakis, ICML 2023, arXiv 2301.13187)."""

    def weights(vertex: int) -> np.ndarray:
        difference = np.asarray(embedding[graph.neighbours(vertex)], dtype=np.float64) - embedding[vertex]
        similarity = np.exp(-gamma * np.square(difference).sum(axis=1))
        return graph.edge_weights(vertex) * np.maximum(similarity, LEAST_SIMILARITY)

    return weights
