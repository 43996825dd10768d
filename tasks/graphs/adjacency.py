"""Undirected graphs as adjacency lists that are read one vertex at a time.

Shape legend: n vertices, m undirected edges, so 2m entries of `indices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tasks.artifacts import Dataset


@dataclass(frozen=True)
class Graph:
    """`indices[indptr[i]:indptr[i + 1]]` are the neighbours of i in ascending order; no loops, no duplicates.

    `indptr` int64 [n + 1], `indices` int64 [2m], `weights` float64 [2m] or None (all edges weigh 1). The arrays may
    be memory-mapped: a local method then reads the rows of the vertices that it visits and nothing else.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray | None = None

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def volume(self) -> float:
        """Sum of all vertices' weighted degrees: known at once without weights, one pass over the edges with them."""
        return float(self.indptr[-1]) if self.weights is None else float(np.sum(self.weights))

    def degree(self, vertex: int) -> int:
        """Number of neighbours."""
        return int(self.indptr[vertex + 1] - self.indptr[vertex])

    def degrees(self) -> np.ndarray:
        """Numbers of neighbours int64 [n]."""
        return np.diff(self.indptr)

    def neighbours(self, vertex: int) -> np.ndarray:
        """Neighbours of a vertex, ascending."""
        return self.indices[self.indptr[vertex] : self.indptr[vertex + 1]]

    def edge_weights(self, vertex: int) -> np.ndarray:
        """Weights of the edges to `neighbours(vertex)`, float64."""
        if self.weights is None:
            return np.ones(self.degree(vertex))
        return np.asarray(self.weights[self.indptr[vertex] : self.indptr[vertex + 1]])


def graph_from_edges(n: int, edges: np.ndarray, weights: np.ndarray | None = None) -> Graph:
    """The undirected graph of `edges` integer [m, 2]: either direction is the edge, loops are left out.

    Duplicates merge into one edge, which keeps the largest of their weights (a sum would double what is listed in
    both directions). Raises `ValueError` naming the edge: an end outside 0..n-1, a weight that is not positive and finite.
    """
    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    bad = np.flatnonzero(((edges < 0) | (edges >= n)).any(axis=1))
    if len(bad):
        raise ValueError(f"edges: edge {bad[0]} joins {edges[bad[0]].tolist()}, expected vertices 0..{n - 1}")
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if len(weights) != len(edges):
            raise ValueError(f"edges: {len(weights)} weights for {len(edges)} edges, not one each")
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))
        if len(bad):
            raise ValueError(f"edges: edge {bad[0]} has weight {weights[bad[0]]}; weights must be positive and finite")
    proper = edges[:, 0] != edges[:, 1]
    ends = np.sort(edges[proper], axis=1)
    key = ends[:, 0] * n + ends[:, 1]
    unique, inverse = np.unique(key, return_inverse=True)
    low, high = np.divmod(unique, max(n, 1))
    source, target = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((target, source))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))]).astype(np.int64)
    merged = None
    if weights is not None:
        once = np.zeros(len(unique))
        np.maximum.at(once, inverse, weights[proper])
        merged = np.concatenate([once, once])[order]
    return Graph(indptr, target[order], merged)


def graph_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The arrays in which a data set keeps a graph: `indptr`, `indices` and, if it has them, `weights`."""
    arrays = {"indptr": graph.indptr, "indices": graph.indices}
    return arrays if graph.weights is None else {**arrays, "weights": graph.weights}


def graph_of(dataset: Dataset) -> Graph:
    """The graph of a data set, whose samples are the vertices; nothing but the shapes is looked at.

    Raises `ValueError` if the data set has no graph or one of another size.
    """
    missing = [name for name in ("indptr", "indices") if name not in dataset.arrays]
    if missing:
        raise ValueError(f"dataset: array '{missing[0]}' is needed and absent; use a data set of a graph")
    graph = Graph(dataset.arrays["indptr"], dataset.arrays["indices"], dataset.arrays.get("weights"))
    if graph.n != len(dataset.samples):
        raise ValueError(f"dataset: a graph of {graph.n} vertices for {len(dataset.samples)} samples")
    return graph
