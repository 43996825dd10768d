"""Approximate PageRank against the exact vector."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.graphs.adjacency import graph_from_edges
from tasks.graphs.edge_weights import label_weights, plain_weights
from tasks.graphs.neighbourhood import Neighbourhood
from tasks.graphs.pagerank import pagerank_cluster, push_pagerank

EDGES = np.random.default_rng(0).integers(40, size=(120, 2))
GRAPH = graph_from_edges(40, np.concatenate([EDGES, np.stack([np.arange(39), np.arange(1, 40)], axis=1)]))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rho", [1e-3, 1e-7])
def test_residual_is_small_and_the_vector_is_right(weighted: bool, rho: float) -> None:
    y = np.random.default_rng(1).integers(2, size=40).astype(np.uint8)
    weigh = label_weights(GRAPH, y, 0.05, 7) if weighted else plain_weights(GRAPH)
    area = Neighbourhood(GRAPH, weigh)
    area.touch(7)
    p_local, r_local = push_pagerank(area, 0.15, rho)
    p, r = np.zeros(40), np.zeros(40)
    p[area.vertices[: len(p_local)]], r[area.vertices[: len(r_local)]] = p_local, r_local
    dense = np.zeros((40, 40))
    for i in range(40):
        dense[i, GRAPH.neighbours(i)] = weigh(i)
    degree = dense.sum(axis=1)
    walk = (np.eye(40) + dense / degree[:, None]) / 2
    exact = np.linalg.solve((np.eye(40) - 0.85 * walk).T, 0.15 * np.eye(40)[7])
    assert p.sum() + r.sum() == pytest.approx(1.0, abs=1e-12)
    assert (r < rho * degree).all()
    # p is exact for the mass that left the residual: exact(seed) = p + exact(r).
    rest = np.linalg.solve((np.eye(40) - 0.85 * walk).T, 0.15 * r)
    np.testing.assert_allclose(p + rest, exact, atol=1e-12)
    assert (np.abs(p - exact) <= rho * degree + 1e-12).all()


def test_two_cliques_are_told_apart_without_reading_a_third() -> None:
    cliques = [np.array([(i, j) for i in range(a, a + 8) for j in range(i) if j >= a]) for a in (0, 8, 16)]
    graph = graph_from_edges(24, np.concatenate([*cliques, [[0, 8], [9, 16]]]))
    result = pagerank_cluster(graph, 3, plain_weights(graph), teleport=0.15, rho=1e-2)
    assert sorted(result.vertices.tolist()) == list(range(8))
    assert result.conductance == pytest.approx(1 / 57)
    assert result.touched < 24


def test_isolated_seed_and_large_rho() -> None:
    graph = graph_from_edges(3, np.array([[0, 1]]))
    with pytest.warns(UserWarning, match="vertex 2 has no neighbour"):
        assert pagerank_cluster(graph, 2, plain_weights(graph), teleport=0.15, rho=1e-3).vertices.tolist() == [2]
    assert pagerank_cluster(graph, 0, plain_weights(graph), teleport=0.15, rho=2.0).vertices.tolist() == [0]
