"""Minimum spanning trees of sparse graphs over points, in whole-array operations.

Shape legend: N points, E edges, M components, D dimensions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.clustering.knn_graph import Neighbours
from tasks.clustering.threads import in_threads, thread_count

Connect = Literal["sampled", "exact", "none"]
ROWS = 2**19  # most rows of the neighbour graph that a thread turns into edges at once
CELLS = 2**18  # distances computed at once, few enough for the cache
SAMPLE_TOTAL = 40_000  # sampled points of all components together
STARTS = 3  # pairs of each component from which the nearest pair is sought


@dataclass(frozen=True)
class Edges:
    """Undirected edges: `a` < `b` int64 [E], `weight` float64 [E]."""

    a: np.ndarray
    b: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.a)

    def take(self, which: np.ndarray) -> "Edges":
        return Edges(self.a[which], self.b[which], self.weight[which])

    def join(self, other: "Edges") -> "Edges":
        return Edges(*(np.concatenate([getattr(self, f), getattr(other, f)]) for f in ("a", "b", "weight")))


def edges_of(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> Edges:
    """Edges with their smaller end first."""
    a, b = a.astype(np.int64, copy=False), b.astype(np.int64, copy=False)
    return Edges(np.minimum(a, b), np.maximum(a, b), weight.astype(np.float64, copy=False))


def spanning_forest(n: int, edges: Edges) -> tuple[Edges, np.ndarray]:
    """Minimum spanning forest (Boruvka 1926) and the component int64 [N] of every point, numbered from 0.

    Equal weights are told apart by (a, b): the forest is unique, duplicate edges and weight 0 do no harm.
    """
    component_N = np.arange(n)
    a, b, edge = edges.a, edges.b, np.arange(len(edges))
    chosen: list[np.ndarray] = []
    count = n
    while True:
        between = a != b
        a, b, edge = a[between], b[between], edge[between]
        if len(edge) == 0:
            break
        pick_M = _lightest(count, a, b, edges, edge)
        has_edge = np.flatnonzero(pick_M >= 0)
        ends = component_N[edges.a[pick_M[has_edge]]], component_N[edges.b[pick_M[has_edge]]]
        parent_M = np.arange(count)
        parent_M[has_edge] = np.where(ends[0] == has_edge, ends[1], ends[0])
        # Two components that chose each other chose the same edge: the smaller becomes the root.
        mutual = (parent_M[parent_M] == np.arange(count)) & (np.arange(count) < parent_M)
        parent_M[mutual] = np.flatnonzero(mutual)
        chosen.append(pick_M[parent_M != np.arange(count)])
        root_M = to_roots(parent_M)
        number_M = np.cumsum(root_M == np.arange(count)) - 1
        count = int(number_M[-1]) + 1
        merged_M = number_M[root_M]
        component_N, a, b = merged_M[component_N], merged_M[a], merged_M[b]
    which = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
    return edges.take(which), component_N


def _lightest(count: int, a: np.ndarray, b: np.ndarray, edges: Edges, edge: np.ndarray) -> np.ndarray:
    """Index of the lightest edge of every component, -1 without one."""
    weight = edges.weight[edge]
    least_M = np.full(count, np.inf)
    np.minimum.at(least_M, a, weight)
    np.minimum.at(least_M, b, weight)
    ends = np.concatenate([a[weight == least_M[a]], b[weight == least_M[b]]])
    candidates = np.concatenate([edge[weight == least_M[a]], edge[weight == least_M[b]]])
    key = edges.a[candidates] * (int(edges.b.max()) + 1) + edges.b[candidates]
    first_M = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_M, ends, key)
    best = key == first_M[ends]
    pick_M = np.full(count, -1)
    pick_M[ends[best]] = candidates[best]
    return pick_M


def to_roots(parent: np.ndarray) -> np.ndarray:
    """The root above every node of a forest given by `parent` (roots are their own), by pointer jumping."""
    while True:
        grandparent = parent[parent]
        if np.array_equal(grandparent, parent):
            return parent
        parent = grandparent


def mutual_reachability_forest(found: Neighbours, core_N: np.ndarray) -> tuple[Edges, np.ndarray]:
    """Minimum spanning forest of the neighbour graph with weights max(core_i, core_j, d_ij), and its components.

    Rows are taken in blocks, one for each thread, since MST(A u B) = MST(MST(A) u MST(B)): memory grows with the blocks, not with
    the graph. Where blocks end does not matter.
    """
    n, k = found.ids.shape
    size = min(ROWS, -(-n // thread_count()))

    def forest_of_block(start: int) -> tuple[Edges, np.ndarray]:
        ids = found.ids[start : start + size]
        i = np.repeat(np.arange(start, start + len(ids)), k)
        j, d = ids.ravel(), found.distances[start : start + size].ravel()
        known = j >= 0
        i, j, d = i[known], j[known], d[known]
        return spanning_forest(n, edges_of(i, j, np.maximum(np.maximum(core_N[i], core_N[j]), d)))

    blocks = in_threads(forest_of_block, range(0, n, size))
    forest, component_N = next(blocks)
    for block, _ in blocks:
        forest, component_N = spanning_forest(n, forest.join(block))
    return forest, component_N


def join_pieces(
    x_ND: np.ndarray, core_N: np.ndarray, forest: Edges, component_N: np.ndarray, how: Connect, sample: int = 200
) -> tuple[Edges, int]:
    """Join the trees of a forest into one with edges of small mutual reachability; returns it and the rounds taken.

    In each round every component but the largest gets its lightest edge to another one, which at least halves their
    number. `exact` compares all pairs of points. `sampled` compares up to `sample` evenly spaced points of each
    component, and from the three best pairs walks to the nearest point of the other component and back, over all
    points, until the pair is nearest for both. `none` joins the trees at infinite distance.
    """
    rounds = 0
    if how == "none":
        _, first = np.unique(component_N, return_index=True)
        return forest.join(edges_of(first[:-1], first[1:], np.full(len(first) - 1, np.inf))), rounds
    while (count := int(component_N.max()) + 1) > 1:
        found = _bridges(x_ND, core_N, component_N, count, sample if how == "sampled" else None)
        ends = component_N[found.a], component_N[found.b]
        small = edges_of(*ends, found.weight)
        # Boruvka among the components; its edges are looked up in the points' edges by position.
        kept = _spanning_positions(count, small, found)
        forest = forest.join(found.take(kept))
        _, merged_M = spanning_forest(count, small.take(kept))
        component_N, rounds = merged_M[component_N], rounds + 1
    return forest, rounds


def _spanning_positions(count: int, small: Edges, found: Edges) -> np.ndarray:
    """Positions of the edges that Kruskal keeps; a handful, so the plain loop will do."""
    parent = list(range(count))
    kept = []
    for position in np.lexsort((found.b, found.a, found.weight)):
        left, right = _root(parent, int(small.a[position])), _root(parent, int(small.b[position]))
        if left != right:
            parent[right] = left
            kept.append(position)
    return np.array(kept, dtype=np.int64)


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def _bridges(x_ND: np.ndarray, core_N: np.ndarray, component_N: np.ndarray, count: int, sample: int | None) -> Edges:
    """One light edge out of every component but the largest."""
    order = np.argsort(component_N, kind="stable")
    x_ND, core_N = x_ND[order], core_N[order]  # so that the points of a component lie side by side
    sizes_M = np.bincount(component_N, minlength=count)
    stop_M = np.cumsum(sizes_M)
    members = [slice(stop - size, stop) for stop, size in zip(stop_M.tolist(), sizes_M.tolist(), strict=True)]
    most = max(4, SAMPLE_TOTAL // count)
    points = [_evenly(part, None if sample is None else min(sample, most)) for part in members]
    targets = np.concatenate(points)
    within = np.repeat(np.arange(count), [len(chosen) for chosen in points])
    largest = int(sizes_M.argmax())
    x_TD, core_T = x_ND[targets], core_N[targets]

    def bridge(c: int) -> tuple[int, int, float]:
        u = points[c]
        at, weight = nearest(x_ND[u], core_N[u], x_TD, np.where(within == c, np.inf, core_T))  # none of its own
        v = targets[at]
        best = np.lexsort((v, u, weight))[: STARTS if sample is not None else 1]
        starts = [(int(u[i]), int(v[i]), float(weight[i])) for i in best]
        if sample is not None:
            ends = np.searchsorted(stop_M, v[best], side="right")  # their components
            starts = [
                _walk(x_ND, core_N, members[c], members[end], *pair) for end, pair in zip(ends, starts, strict=True)
            ]
        return min(starts, key=lambda pair: (pair[2], pair[0], pair[1]))

    found = in_threads(bridge, [c for c in range(count) if c != largest])
    u, v, weight = (np.array(column) for column in zip(*found, strict=True))
    return edges_of(order[u], order[v], weight)


def _evenly(part: slice, most: int | None) -> np.ndarray:
    """All positions of a slice, or `most` that are evenly spaced."""
    size = part.stop - part.start
    steps = np.arange(size) if most is None or size <= most else np.linspace(0, size - 1, most).astype(np.int64)
    return part.start + steps


def _walk(
    x_ND: np.ndarray, core_N: np.ndarray, here: slice, there: slice, u: int, v: int, weight: float
) -> tuple[int, int, float]:
    """From a pair to a lighter one: the nearest point to `v` among `here`, then to that among `there`, and so on."""
    while True:
        before = weight
        for _ in range(2):
            at, lighter = nearest(x_ND[v : v + 1], core_N[v : v + 1], x_ND[here], core_N[here])
            if lighter[0] < weight:
                u, weight = here.start + int(at[0]), float(lighter[0])
            u, v, here, there = v, u, there, here
        if weight >= before:
            return u, v, weight


def nearest(
    u_BD: np.ndarray, core_B: np.ndarray, v_CD: np.ndarray, core_C: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `u_BD` the row of `v_CD` of least mutual reachability, and that float64 weight."""
    u_BD, v_CD = np.ascontiguousarray(u_BD, np.float32), np.ascontiguousarray(v_CD, np.float32)
    found_B, best_B, every = np.zeros(len(u_BD), np.int64), np.full(len(u_BD), np.inf), np.arange(len(u_BD))
    norm_B, norm_C = np.einsum("bd,bd->b", u_BD, u_BD), np.einsum("cd,cd->c", v_CD, v_CD)
    square_B, square_C = (core_B**2).astype(np.float32), (core_C**2).astype(np.float32)
    few = max(64, CELLS // len(u_BD))
    for start in range(0, len(v_CD), few):
        part = slice(start, start + few)
        squared_BC = (-2 * u_BD) @ v_CD[part].T  # squared weights in the end; in place, since this is all the time
        squared_BC += norm_B[:, None]
        squared_BC += norm_C[part]
        np.maximum(squared_BC, square_C[part], out=squared_BC)
        np.maximum(squared_BC, square_B[:, None], out=squared_BC)
        at_B = squared_BC.argmin(axis=1)
        better_B = squared_BC[every, at_B] < best_B
        best_B[better_B], found_B[better_B] = squared_BC[every, at_B][better_B], start + at_B[better_B]
    gap_BD = u_BD.astype(np.float64) - v_CD[found_B]
    return found_B, np.maximum(np.sqrt((gap_BD**2).sum(axis=1)), np.maximum(core_B, core_C[found_B]))
