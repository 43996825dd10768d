"""Agglomerative clustering via maximum incremental path integral.

AC-PIC: Zhang, Zhao & Wang, Pattern Recognition 46 (2013).

Shape legend: n points, d dimensions.
"""

from __future__ import annotations

import heapq

import faiss
import numpy as np
from scipy.sparse import csr_array, identity
from scipy.sparse.csgraph import connected_components

# A power of z below this adds nothing in float64, so that the series is the inverse; the paper's z = 0.01 takes 9 terms.
_TERMS_TOLERANCE = 1e-17


def path_integral_clustering(
    x_nd: np.ndarray, k: int, *, neighbours: int = 20, a: float = 1.0, z: float = 0.01
) -> np.ndarray:
    """Cluster ids int64 [n], 0..k-1 in the order of their first points.

    Weights exp(-squared distance / s2) from each point to its `neighbours` nearest, s2 = `a` times the mean of those
    distances, and 1 to itself, make the transition matrix T. Points start in clusters that link each with its nearest
    neighbour. The path integral of C is S(C) = 1'(I - `z` T_CC)^-1 1 / |C|^2, of C inside a union U the same sum over C with
    T_UU. Merged is the pair A, B with the largest [S(A|U) - S(A)] + [S(B|U) - S(B)], until `k` are left; the pair of
    the lowest ids among equals.

    Raises ValueError: rows not finite, k below 1 or above the number of first clusters, z outside (0, 1), too few points.
    """
    x_nd = np.ascontiguousarray(x_nd, dtype=np.float32)
    if x_nd.ndim != 2 or len(x_nd) < 2 or not np.isfinite(x_nd).all():
        raise ValueError(f"points must be finite and [n, d] with n at least 2, got shape {x_nd.shape}")
    if not 1 <= neighbours < len(x_nd):
        raise ValueError(f"neighbours = {neighbours} must be between 1 and {len(x_nd) - 1}, the number of other points")
    if not 0 < z < 1:
        raise ValueError(f"z must be between 0 and 1, got {z}")
    transition, nearest_n = transition_matrix(x_nd, neighbours, a)
    links = csr_array((np.ones(len(x_nd)), (np.arange(len(x_nd)), nearest_n)), shape=transition.shape)
    first, label_n = connected_components(links, directed=False)
    if not 1 <= k <= first:
        raise ValueError(f"k = {k} must be between 1 and {first}, the number of clusters that nearest neighbours link")
    members = {c: np.flatnonzero(label_n == c) for c in range(first)}
    merged = _merge(members, transition, k, z)
    result = np.empty(len(x_nd), dtype=np.int64)
    for index, rows in enumerate(sorted(merged.values(), key=lambda rows: rows.min())):
        result[rows] = index
    return result


def transition_matrix(x_nd: np.ndarray, neighbours: int, a: float) -> tuple[csr_array, np.ndarray]:
    """T [n, n] with rows summing to 1, and each point's nearest other point int64 [n]."""
    squared, index = faiss.knn(x_nd, x_nd, min(neighbours + 1, len(x_nd)))
    # A point is its own neighbour at distance 0, but not always the first of its duplicates.
    is_self = index == np.arange(len(x_nd))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    others = ~is_self
    squared = squared[others].reshape(len(x_nd), -1).clip(min=0).astype(np.float64)
    index = index[others].reshape(len(x_nd), -1)
    scale = a * squared.mean()
    weight = np.exp(-squared / scale) if scale > 0 else np.ones_like(squared)
    rows = np.repeat(np.arange(len(x_nd)), index.shape[1])
    graph = csr_array((weight.ravel(), (rows, index.ravel())), shape=(len(x_nd), len(x_nd))) + identity(
        len(x_nd), format="csr"
    )
    total = np.asarray(graph.sum(axis=1)).ravel()
    scaled = csr_array(graph.multiply(1 / total[:, None]))
    return scaled, index[:, 0].astype(np.int64)


def path_sums(transition: csr_array, parts: list[np.ndarray], z: float) -> list[float]:
    """1_A'(I - z T_UU)^-1 1_A / |A|^2 for each of the disjoint `parts` A of their union U, by the series of the inverse."""
    rows = np.concatenate(parts)
    block = transition[np.ix_(rows, rows)]
    ones = np.repeat(np.eye(len(parts)), [len(part) for part in parts], axis=0)
    term, total, factor = ones.copy(), ones.copy(), 1.0
    while factor > _TERMS_TOLERANCE:
        term = z * (block @ term)
        total += term
        factor *= z
    return [float(inside) / len(part) ** 2 for inside, part in zip((ones * total).sum(axis=0), parts, strict=True)]


def _merge(members: dict[int, np.ndarray], transition: csr_array, k: int, z: float) -> dict[int, np.ndarray]:
    alone = {c: path_sums(transition, [rows], z)[0] for c, rows in members.items()}
    owner = np.empty(sum(map(len, members.values())), dtype=np.int64)
    for c, rows in members.items():
        owner[rows] = c
    both_ways = csr_array(transition + transition.T)

    def gain(b: int, c: int) -> float:
        return sum(path_sums(transition, [members[b], members[c]], z)) - alone[b] - alone[c]

    def linked(c: int) -> list[int]:
        """Clusters with a link to or from `c`: a union with any other gains nothing."""
        return sorted(set(owner[both_ways[members[c]].indices].tolist()) - {c})

    heap = [(-gain(b, c), b, c) for b in members for c in linked(b) if b < c]
    heapq.heapify(heap)
    fresh = max(members) + 1
    while len(members) > k:
        b, c = _best_pair(heap, members)
        members[fresh] = np.concatenate([members.pop(b), members.pop(c)])
        owner[members[fresh]] = fresh
        alone[fresh] = path_sums(transition, [members[fresh]], z)[0]
        for other in linked(fresh):
            heapq.heappush(heap, (-gain(other, fresh), other, fresh))
        fresh += 1
    return members


def _best_pair(heap: list[tuple[float, int, int]], members: dict[int, np.ndarray]) -> tuple[int, int]:
    while heap:
        _, b, c = heapq.heappop(heap)
        if b in members and c in members:
            return b, c
    lowest = sorted(members)[:2]  # nothing is linked any more, every gain is 0
    return lowest[0], lowest[1]
