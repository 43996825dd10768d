"""Approximate personalised PageRank from a seed vertex by local pushes, and its sweep cut.

Andersen, Chung & Lang, FOCS 2006, section 3: the walk is lazy, p approximates it from below, and what is left in
the residual r is below rho times the degree everywhere.
"""

from __future__ import annotations

import warnings
from collections import deque

import numpy as np

from tasks.graphs.adjacency import Graph
from tasks.graphs.edge_weights import EdgeWeights
from tasks.graphs.local_cluster import Candidate, LocalCluster, lone_seed
from tasks.graphs.neighbourhood import Neighbourhood


def push_pagerank(area: Neighbourhood, teleport: float, rho: float) -> tuple[list[float], list[float]]:
    """PageRank p and residual r by local index, from all mass on local vertex 0; p and r sum to 1."""
    p, r, queue, queued = [0.0], [1.0], deque([0]), [True]
    while queue:
        local = queue.popleft()
        queued[local] = False
        neighbours, weights, degree, _ = area.row(local)
        missing = len(area.vertices) - len(p)
        p += [0.0] * missing
        r += [0.0] * missing
        queued += [False] * missing
        residual = r[local]
        if residual < rho * degree:
            continue
        p[local] += teleport * residual
        half = (1 - teleport) * residual / 2
        r[local] = half
        share = half / degree
        for j, w in zip(neighbours, weights, strict=True):
            r[j] += w * share
            # A degree is at least this edge, so most vertices need not be read to see that they stay below.
            if not queued[j] and r[j] >= rho * w and r[j] >= rho * area.row(j)[2]:
                queued[j] = True
                queue.append(j)
        grown = len(area.vertices) - len(p)  # rows of neighbours touch theirs
        p += [0.0] * grown
        r += [0.0] * grown
        queued += [False] * grown
        if not queued[local] and half >= rho * degree:
            queued[local] = True
            queue.append(local)
    return p, r


def pagerank_cluster(
    graph: Graph, seed_vertex: int, edge_weights: EdgeWeights, *, teleport: float, rho: float
) -> LocalCluster:
    """The prefix of lowest conductance of the vertices ordered by p_i / degree_i, in the weights of the edges.

    Warns and returns the seed alone if it has no neighbour.
    """
    if graph.degree(seed_vertex) == 0:
        warnings.warn(f"vertex {seed_vertex} has no neighbour; its cluster is the vertex alone", stacklevel=2)
        return lone_seed(seed_vertex)
    area = Neighbourhood(graph, edge_weights)
    area.touch(seed_vertex)
    p, r = push_pagerank(area, teleport, rho)
    touched = sum(value > 0 for value in r)
    value = {i: p[i] / area.row(i)[2] for i in range(len(p)) if p[i] > 0}
    if not value:  # rho so large that not even the seed was pushed
        return lone_seed(seed_vertex, touched, area.edges_read)
    order = sorted(value, key=lambda i: (-value[i], area.vertices[i]))
    length, conductance = area.sweep(order)
    reached = np.array([area.vertices[i] for i in order], dtype=np.int64)
    score = np.array([value[i] for i in order])
    candidate = Candidate(0.0, conductance, reached[:length])
    return LocalCluster(seed_vertex, [candidate], 0, reached, score, touched, area.edges_read)
