"""Super-voxels: small patches of a point cloud that geometry and colour hold together.

Shape legend: N points, E edges, S super-voxels.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

_COLOUR, _DISTANCE = 0.6, 0.5


def graph_supervoxels(
    points_N3: np.ndarray,
    rgb_N3: np.ndarray,
    normals_N3: np.ndarray,
    *,
    neighbours: int = 10,
    scale: float = 0.25,
    smallest: int = 8,
) -> np.ndarray:
    """Super-voxel int64 [N] of every point, numbered from 0 in the order of their first points.

    Graph merging of Felzenszwalb & Huttenlocher (IJCV 59, 2004) on the graph of nearest neighbours. The weight of an edge is
    g + 0.6 |rgb - rgb'| + 0.5 |x - x'| with g = 1 - n . n', squared where the surface is convex: (x' - x) . n' > 0. Two
    components join if the weight is at most Int(C) + scale / |C| of both, Int being the largest weight inside; then
    components below `smallest` join their nearest neighbour. Colour in 0..1, points in metres.
    """
    count = len(points_N3)
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    near = np.asarray(KDTree(points_N3).query(points_N3, k=min(neighbours + 1, count))[1])
    source = np.repeat(np.arange(count), near.shape[1] - 1)
    target = near[:, 1:].ravel()
    offset = points_N3[target] - points_N3[source]
    g = 1 - (normals_N3[source] * normals_N3[target]).sum(axis=1)
    g = np.where((offset * normals_N3[target]).sum(axis=1) > 0, g**2, g)
    weight = (
        g
        + _COLOUR * np.linalg.norm(rgb_N3[source] - rgb_N3[target], axis=1)
        + _DISTANCE * np.linalg.norm(offset, axis=1)
    )
    order = np.argsort(weight, kind="stable")
    return merge_graph(count, source[order], target[order], weight[order], scale, smallest)


def merge_graph(
    count: int, source_E: np.ndarray, target_E: np.ndarray, weight_E: np.ndarray, scale: float, smallest: int
) -> np.ndarray:
    """Component int64 [N] of every node from edges in ascending order of weight."""
    parent, size, limit = list(range(count)), [1] * count, [scale] * count

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(a: int, b: int) -> int:
        a, b = (a, b) if size[a] >= size[b] else (b, a)
        parent[b] = a
        size[a] += size[b]
        return a

    edges = list(zip(source_E.tolist(), target_E.tolist(), weight_E.tolist(), strict=True))
    for a, b, w in edges:
        a, b = root(a), root(b)
        if a != b and w <= limit[a] and w <= limit[b]:
            kept = join(a, b)
            limit[kept] = w + scale / size[kept]
    for a, b, _ in edges:
        a, b = root(a), root(b)
        if a != b and min(size[a], size[b]) < smallest:
            join(a, b)
    roots = np.array([root(node) for node in range(count)])
    _, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse]


def estimated_normals(points_N3: np.ndarray, neighbours: int = 10) -> np.ndarray:
    """Unit normals float64 [N, 3]: the direction of least variance among the nearest neighbours, pointing up (z >= 0)."""
    near = np.asarray(KDTree(points_N3).query(points_N3, k=min(neighbours + 1, len(points_N3)))[1])
    around = points_N3[near.reshape(len(points_N3), -1)]
    centred = around - around.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))
    normals = vectors[:, :, 0]
    return np.where(normals[:, 2:] < 0, -normals, normals)
