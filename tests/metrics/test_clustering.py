from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.clustering import clustering_accuracy, contingency

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30)


def brute_force(clusters, classes):
    ids, names = np.unique(clusters), np.unique(classes)
    size = max(len(ids), len(names))
    best = 0
    for order in permutations(range(size), len(ids)):
        mapped = {c: names[o] if o < len(names) else -1 for c, o in zip(ids, order, strict=True)}
        best = max(best, sum(mapped[c] == y for c, y in zip(clusters, classes, strict=True)))
    return best / len(classes)


@given(PAIRS)
def test_brute_force_over_all_maps(pairs):
    clusters, classes = np.array(pairs).T
    assert clustering_accuracy(clusters, classes) == pytest.approx(brute_force(clusters, classes))


@given(PAIRS, st.permutations(range(5)))
def test_names_of_clusters_do_not_matter(pairs, order):
    clusters, classes = np.array(pairs).T
    assert clustering_accuracy(clusters, classes) == clustering_accuracy(np.array(order)[clusters], classes)


def test_rows_of_surplus_clusters_are_errors():
    classes = np.repeat([0, 1], 10)
    clusters = np.r_[np.zeros(10), np.ones(6), np.full(4, 2)].astype(int)
    assert clustering_accuracy(clusters, classes) == 1 - 4 / 20


def test_contingency_counts():
    assert contingency(np.array([5, 5, 9]), np.array([1, 3, 3])).tolist() == [[1, 1], [0, 1]]


def test_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        clustering_accuracy(np.array([]), np.array([]))
