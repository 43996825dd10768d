import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist

from tasks.clustering import spanning_tree
from tasks.clustering.knn_graph import neighbours
from tasks.clustering.spanning_tree import (
    Edges,
    edges_of,
    join_pieces,
    mutual_reachability_forest,
    nearest,
    spanning_forest,
)


def exact_weight(x: np.ndarray, s: int) -> float:
    """Total weight of the minimum spanning tree over all pairs, by SciPy."""
    d = cdist(x.astype(np.float64), x.astype(np.float64))
    core = np.sort(d, axis=1)[:, s]
    return float(minimum_spanning_tree(np.maximum(np.maximum(core[:, None], core), d)).sum())


def blobs_on_a_line(count: int = 6, size: int = 50, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count * size, 2)) * 0.5
    x[:, 0] += np.repeat(np.arange(count) * 10, size)
    return x.astype(np.float32)


def joined(x: np.ndarray, k: int, s: int, how: spanning_tree.Connect = "sampled", sample: int = 200):
    found = neighbours(x, k, at_least=s)
    core = found.distances[:, s - 1].astype(np.float64)
    forest, component = mutual_reachability_forest(found, core)
    tree, rounds = join_pieces(x, core, forest, component, how, sample)
    return tree, rounds, component


@st.composite
def graphs(draw) -> tuple[int, Edges]:
    """Graphs with ties, zero weights, duplicate and parallel edges, several components."""
    n = draw(st.integers(1, 25))
    m = draw(st.integers(0, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b = rng.integers(n, size=m), rng.integers(n, size=m)
    return n, edges_of(a[a != b], b[a != b], rng.integers(0, draw(st.integers(1, 10)), size=m)[a != b].astype(float))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_forest_has_the_weight_and_the_components_of_scipys(graph):
    n, edges = graph
    forest, component = spanning_forest(n, edges)
    # SciPy takes weight 0 for no edge and adds up duplicates: ranks of the distinct edges, then their weights.
    order = np.lexsort((edges.b, edges.a, edges.weight))
    _, first = np.unique(edges.a[order] * n + edges.b[order], return_index=True)
    kept = order[first]
    matrix = coo_matrix((edges.weight[kept] + 1, (edges.a[kept], edges.b[kept])), shape=(n, n))
    tree = minimum_spanning_tree(matrix)
    count, expected = connected_components(matrix, directed=False)
    assert len(forest) == n - count == tree.nnz
    assert forest.weight.sum() == pytest.approx(tree.sum() - tree.nnz)
    assert len(np.unique(np.stack([component, expected]), axis=1).T) == count == component.max() + 1


@settings(max_examples=50, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_forest_does_not_depend_on_the_order_of_edges_or_on_blocks(graph, seed):
    n, edges = graph
    shuffled = edges.take(np.random.default_rng(seed).permutation(len(edges)))
    half = len(edges) // 2
    first, _ = spanning_forest(n, shuffled.take(np.arange(half)))
    blocked, _ = spanning_forest(n, first.join(shuffled.take(np.arange(half, len(edges)))))
    plain, _ = spanning_forest(n, edges)
    assert set(zip(plain.a, plain.b, plain.weight, strict=True)) == set(
        zip(blocked.a, blocked.b, blocked.weight, strict=True)
    )


def test_all_neighbours_give_the_exact_tree():
    x = np.random.default_rng(1).standard_normal((150, 3)).astype(np.float32)
    tree, rounds, _ = joined(x, 149, 6)
    assert (len(tree), rounds) == (149, 0)
    assert tree.weight.sum() == pytest.approx(exact_weight(x, 6), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_few_neighbours_give_a_tree_hardly_heavier_than_the_exact_one(seed):
    """Counting the point itself for the core distance would make it 2 to 5 % lighter."""
    x = np.random.default_rng(seed).standard_normal((800, 6)).astype(np.float32)
    tree, _, _ = joined(x, 16, 10)
    assert 1 - 1e-9 <= tree.weight.sum() / exact_weight(x, 10) <= 1.003


@pytest.mark.parametrize("how", ["sampled", "exact"])
def test_six_blobs_on_a_line(how):
    x = blobs_on_a_line()
    tree, rounds, component = joined(x, 16, 5, how)
    assert component.max() + 1 == 6
    assert 1 <= rounds <= 2
    assert len(tree) == 299
    assert tree.weight.sum() == pytest.approx(exact_weight(x, 5), rel=1e-6)


def test_a_sample_of_one_still_walks_to_the_nearest_pair_and_never_below_it():
    x = blobs_on_a_line()
    tree, _, _ = joined(x, 16, 5, "sampled", sample=1)
    assert len(tree) == 299
    assert 1 - 1e-9 <= tree.weight.sum() / exact_weight(x, 5) < 1.05


def test_none_joins_pieces_at_infinite_distance():
    tree, rounds, _ = joined(blobs_on_a_line(), 16, 5, "none")
    assert (len(tree), rounds) == (299, 0)
    assert np.isinf(tree.weight).sum() == 5


def test_more_pieces_than_rounds_can_halve():
    x = blobs_on_a_line(count=40, size=20)
    tree, rounds, component = joined(x, 10, 5)
    assert component.max() + 1 >= 40
    assert rounds <= np.ceil(np.log2(component.max() + 1))
    assert spanning_forest(len(x), tree)[1].max() == 0


def test_nearest_is_brute_force_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    x, core = rng.standard_normal((200, 3)).astype(np.float32), rng.random(200)
    w = np.maximum(np.maximum(core[:40, None], core[40:]), cdist(x[:40].astype(float), x[40:].astype(float)))
    monkeypatch.setattr(spanning_tree, "CELLS", 1000)
    found, weight = nearest(x[:40], core[:40], x[40:], core[40:])
    assert np.allclose(weight, w.min(axis=1), rtol=1e-5)
    assert np.allclose(w[np.arange(40), found], w.min(axis=1), rtol=1e-5)


def test_rows_in_blocks_give_the_same_forest(monkeypatch):
    x = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    found = neighbours(x, 8, at_least=4)
    core = found.distances[:, 3]
    whole, pieces = mutual_reachability_forest(found, core)
    monkeypatch.setattr(spanning_tree, "ROWS", 37)
    parts, same_pieces = mutual_reachability_forest(found, core)
    assert set(zip(whole.a, whole.b, strict=True)) == set(zip(parts.a, parts.b, strict=True))
    assert np.array_equal(pieces, same_pieces)
