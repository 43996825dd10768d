"""The part of a graph that a local method has read: vertices numbered in the order of their first touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.graphs.adjacency import Graph
from tasks.graphs.edge_weights import EdgeWeights


class Neighbourhood:
    """Touched vertices, and the rows (neighbours with weights) of those whose edges were read.

    Everything is numbered by local index; `vertices[i]` is the vertex of the graph. `edges_read` counts the
    adjacency entries that were looked at, the measure of the work.
    """

    def __init__(self, graph: Graph, edge_weights: EdgeWeights):
        self.graph, self.edge_weights = graph, edge_weights
        self.vertices: list[int] = []
        self.index: dict[int, int] = {}
        self.rows: dict[int, tuple[list[int], list[float], float, float]] = {}
        self.edges_read = 0

    def touch(self, vertex: int) -> int:
        """Local index of a vertex, which is new if it was not touched before."""
        local = self.index.get(vertex)
        if local is None:
            local = self.index[vertex] = len(self.vertices)
            self.vertices.append(vertex)
        return local

    def row(self, local: int) -> tuple[list[int], list[float], float, float]:
        """Neighbours (local), their weights, the weighted degree, and the degree in the graph's own weights."""
        row = self.rows.get(local)
        if row is None:
            vertex = self.vertices[local]
            neighbours = [self.touch(v) for v in self.graph.neighbours(vertex).tolist()]
            weights = self.edge_weights(vertex)
            own = float(len(neighbours)) if self.graph.weights is None else float(self.graph.edge_weights(vertex).sum())
            row = self.rows[local] = (neighbours, weights.tolist(), float(weights.sum()), own)
            self.edges_read += len(neighbours)
        return row

    def conductance(self, members: Iterable[int]) -> float:
        """cut(C) / min(vol C, vol rest) of local indices C in the weights of this neighbourhood.

        The rest is measured in the graph's own weights, an upper bound where edges are weighted down: its exact
        volume would need every edge of the graph. They differ only for clusters of about half of the graph. A
        cluster that leaves no rest, or has no edge, gets 1, the worst value.
        """
        inside = set(members)
        cut = volume = own_volume = 0.0
        for local in inside:
            neighbours, weights, degree, own = self.row(local)
            volume += degree
            own_volume += own
            cut += sum(w for j, w in zip(neighbours, weights, strict=True) if j not in inside)
        return _ratio(cut, volume, self.graph.volume - own_volume)

    def sweep(self, order: Sequence[int]) -> tuple[int, float]:
        """Length and conductance of the first of the best prefixes of `order` (local indices)."""
        inside: set[int] = set()
        cut = volume = own_volume = 0.0
        best = (1, 1.0)
        for count, local in enumerate(order, start=1):
            neighbours, weights, degree, own = self.row(local)
            shared = sum(w for j, w in zip(neighbours, weights, strict=True) if j in inside)
            inside.add(local)
            volume, own_volume, cut = volume + degree, own_volume + own, cut + degree - 2 * shared
            conductance = _ratio(cut, volume, self.graph.volume - own_volume)
            if conductance < best[1]:
                best = (count, conductance)
        return best


def _ratio(cut: float, volume: float, rest: float) -> float:
    smaller = min(volume, rest)
    # Round-off of the running sums must not turn nothing into a perfect cut.
    return min(1.0, max(0.0, cut / smaller)) if smaller > 1e-9 else 1.0
