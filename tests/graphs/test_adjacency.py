"""Adjacency lists against SciPy, and what becomes of loops, duplicates and directions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import Graph, graph_arrays, graph_from_edges, graph_of

EDGES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(EDGES)
def test_same_as_scipy(edges: list[tuple[int, int]]) -> None:
    graph = graph_from_edges(9, np.array(edges, dtype=np.int64).reshape(-1, 2))
    row, column = np.array([e for e in edges if e[0] != e[1]], dtype=int).reshape(-1, 2).T
    dense = coo_matrix((np.ones(len(row)), (row, column)), shape=(9, 9)).toarray()
    dense = ((dense + dense.T) > 0).astype(float)
    assert [graph.neighbours(i).tolist() for i in range(9)] == [np.flatnonzero(r).tolist() for r in dense]
    assert graph.degrees().tolist() == dense.sum(axis=1).tolist()
    assert graph.volume == dense.sum()


def test_loops_go_duplicates_merge_and_directions_are_one_edge() -> None:
    graph = graph_from_edges(3, np.array([[0, 0], [0, 1], [1, 0], [0, 1], [2, 1]]), np.array([9.0, 1.0, 3.0, 2.0, 0.5]))
    assert graph.neighbours(0).tolist() == [1]
    assert graph.neighbours(1).tolist() == [0, 2]
    assert graph.edge_weights(1).tolist() == [3.0, 0.5]  # the largest, and the loop's weight is nowhere
    assert graph.volume == 7.0


@pytest.mark.parametrize(
    ("edges", "weights", "message"),
    [
        ([[0, 3]], None, r"edge 0 joins \[0, 3\], expected vertices 0..2"),
        ([[0, 1], [-1, 2]], None, r"edge 1 joins \[-1, 2\]"),
        ([[0, 1]], [0.0], "edge 0 has weight 0.0"),
        ([[0, 1]], [np.nan], "edge 0 has weight nan"),
        ([[0, 1]], [1.0, 2.0], "2 weights for 1 edges"),
    ],
)
def test_bad_edges(edges: list, weights: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph_from_edges(3, np.array(edges), None if weights is None else np.array(weights))


def dataset(n: int, graph: Graph | None) -> Dataset:
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * n, dtype="str")})
    return Dataset({"samples": samples}, {} if graph is None else graph_arrays(graph))


def test_graph_of_a_data_set() -> None:
    graph = graph_from_edges(3, np.array([[0, 1], [1, 2]]), np.array([1.0, 2.0]))
    again = graph_of(dataset(3, graph))
    assert again.n == 3
    assert again.edge_weights(1).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="'indptr' is needed and absent"):
        graph_of(dataset(3, None))
    with pytest.raises(ValueError, match="a graph of 3 vertices for 4 samples"):
        graph_of(dataset(4, graph))
