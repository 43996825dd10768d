"""AC-PIC, against dense inverses and a search through all pairs."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score

from tasks.clustering.path_integral import path_integral_clustering, path_sums, transition_matrix


def dense_sum(transition: np.ndarray, part: list[int], union: list[int], z: float) -> float:
    inverse = np.linalg.inv(np.eye(len(union)) - z * transition[np.ix_(union, union)])
    inside = np.isin(union, part).astype(float)
    return inside @ inverse @ inside / len(part) ** 2


def brute_force(x: np.ndarray, k: int, neighbours: int, a: float, z: float) -> np.ndarray:
    """The definition: all pairs of clusters tried at every step, inverses computed."""
    n = len(x)
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    order = np.argsort(squared + np.where(np.eye(n, dtype=bool), np.inf, 0), axis=1)[:, :neighbours]
    scale = a * np.mean([squared[i, order[i]] for i in range(n)])
    graph = np.eye(n)
    for i in range(n):
        graph[i, order[i]] = np.exp(-squared[i, order[i]] / scale)
    transition = graph / graph.sum(axis=1, keepdims=True)
    groups = [{i} for i in range(n)]
    for i in range(n):
        mine, other = (next(g for g in groups if j in g) for j in (i, order[i, 0]))
        if mine is not other:
            groups.remove(other)
            mine |= other
    parts = [sorted(g) for g in groups]
    while len(parts) > k:
        gains = {
            (b, c): sum(
                dense_sum(transition, parts[j], parts[b] + parts[c], z) - dense_sum(transition, parts[j], parts[j], z)
                for j in (b, c)
            )
            for b, c in itertools.combinations(range(len(parts)), 2)
        }
        b, c = max(gains, key=gains.get)
        parts[b] = parts[b] + parts.pop(c)
    label = np.empty(n, dtype=int)
    for index, part in enumerate(parts):
        label[part] = index
    return label


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(seed):
    x = np.random.default_rng(seed).normal(size=(45, 3)).astype(np.float32)
    fast = path_integral_clustering(x, 4, neighbours=6, a=0.9, z=0.05)
    slow = brute_force(x.astype(float), 4, 6, 0.9, 0.05)
    assert adjusted_rand_score(fast, slow) == 1
    assert len(np.unique(fast)) == 4


def test_path_sums_are_those_of_the_inverse():
    x = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    transition, _ = transition_matrix(x, 5, 1.0)
    dense = transition.toarray()
    parts = [np.array([3, 7, 8, 20]), np.array([1, 2])]
    for z in (0.01, 0.9):
        for part, value in zip(parts, path_sums(transition, parts, z), strict=True):
            assert value == pytest.approx(dense_sum(dense, list(part), [3, 7, 8, 20, 1, 2], z), rel=1e-12)


def test_transitions():
    x = np.random.default_rng(0).normal(size=(25, 2)).astype(np.float32)
    transition, nearest = transition_matrix(x, 4, 1.0)
    dense = transition.toarray()
    assert np.allclose(dense.sum(axis=1), 1)
    assert ((dense > 0).sum(axis=1) == 5).all()
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    assert np.array_equal(nearest, squared.argmin(axis=1))
    assert np.allclose(dense.argmax(axis=1), np.arange(25))  # the loop weighs 1, no neighbour more


def test_duplicates_are_neighbours_but_not_of_themselves():
    x = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 5, axis=0).astype(np.float32)
    _, nearest = transition_matrix(x, 3, 1.0)
    assert (nearest != np.arange(30)).all()
    assert np.array_equal(path_integral_clustering(x, 6, neighbours=3), np.repeat(np.arange(6), 5))


def test_follows_shapes_that_k_means_cuts():
    x, truth = make_moons(300, noise=0.05, random_state=0)
    assert adjusted_rand_score(truth, path_integral_clustering(x, 2, neighbours=10)) == 1


def test_groups_without_any_link_are_merged_last():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(12, 2)) + 1000 * c for c in range(3)])
    label = path_integral_clustering(x, 2, neighbours=3)
    assert [len(np.unique(label[12 * c : 12 * c + 12])) for c in range(3)] == [1, 1, 1]


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"k = 15 must be between 1 and \d+, the number of clusters"):
        path_integral_clustering(x, 15, neighbours=5)
    with pytest.raises(ValueError, match="neighbours = 20 must be between 1 and 19"):
        path_integral_clustering(x, 2)
    with pytest.raises(ValueError, match="z must be between 0 and 1"):
        path_integral_clustering(x, 2, neighbours=5, z=1.0)
    x[3] = np.nan
    with pytest.raises(ValueError, match="points must be finite"):
        path_integral_clustering(x, 2, neighbours=5)
