"""Scorers against scikit-learn, batches and crosses by hand, processes against none."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import adjusted_mutual_info_score, log_loss, mutual_info_score
from sklearn.model_selection import StratifiedKFold

from tasks.tables.column_scores import (
    Scorer,
    batches,
    choose_crosses,
    column_of,
    crosses_of,
    forest_importances,
    in_parallel,
)

RNG = np.random.default_rng(0)
X, Y = RNG.integers(6, size=500), RNG.integers(2, size=500)


def score(heuristic, x=X, y=Y):
    return Scorer(heuristic, "permutation", 3).score(x, y, (1, 2, 3))


def test_scorers_of_scikit_learn():
    assert score("mutual_information") == pytest.approx(mutual_info_score(X, Y))
    assert score("adjusted_mutual_information") == pytest.approx(adjusted_mutual_info_score(Y, X))


def test_max_pair_coverage_is_the_largest_joint_share():
    largest = max(((a == X) & (b == Y)).sum() for a in range(6) for b in range(2))
    assert score("max_pair_coverage") == largest / 500


def test_surrogate_is_a_logistic_regression_on_the_one_hot_column():
    y = (X > 2).astype(int)
    one_hot = csr_matrix(np.eye(6)[X])
    seed = int(np.random.default_rng([1, 2, 3]).integers(2**31 - 1))
    losses = []
    for train, test in StratifiedKFold(2).split(one_hot, y):
        model = SGDClassifier(loss="log_loss", random_state=seed).fit(one_hot[train], y[train])
        losses.append(log_loss(y[test], model.predict_proba(one_hot[test])))
    assert score("surrogate", y=y) == pytest.approx(1 - np.median(losses))
    assert score("surrogate", y=y) > score("surrogate")


@pytest.mark.parametrize(
    "heuristic",
    [
        "corrected_mutual_information",
        "mutual_information",
        "adjusted_mutual_information",
        "surrogate",
        "max_pair_coverage",
    ],
)
def test_constants_score_zero(heuristic):
    assert score(heuristic, x=np.zeros(500, int)) == 0
    assert score(heuristic, y=np.zeros(500, int)) == 0


def test_each_stream_has_its_own_random_numbers():
    scorer = Scorer("corrected_mutual_information", "permutation", 1)
    assert scorer.score(X, Y, (0, 1)) == scorer.score(X, Y, (0, 1))
    assert scorer.score(X, Y, (0, 1)) != scorer.score(X, Y, (0, 2))


def test_forest_importances():
    codes = np.stack([Y, X, RNG.integers(3, size=500)], axis=1)
    got = forest_importances(codes, Y, 20, np.random.default_rng(5))
    seed = int(np.random.default_rng(5).integers(2**31 - 1))
    expected = RandomForestClassifier(20, random_state=seed).fit(codes, Y).feature_importances_
    np.testing.assert_array_equal(got, expected)
    assert got.argmax() == 0


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (5, [(0, 5)]),  # the only batch may be short
        (10, [(0, 10)]),
        (13, [(0, 10)]),  # 3 rows are not more than 3
        (14, [(0, 10), (10, 14)]),
        (20, [(0, 10), (10, 20)]),
    ],
)
def test_batches(count, expected):
    assert [(s.start, s.stop) for s in batches(count, 10, 3)] == expected


def test_crosses_are_all_sets_of_columns():
    assert crosses_of(4, 1) == []
    assert crosses_of(4, 3) == [*combinations(range(4), 2), *combinations(range(4), 3)]


def test_crosses_seen_least_often_come_first():
    seen = np.zeros(10, dtype=int)
    for b in range(5):  # 5 batches of 4 crosses: each of 10 is seen twice
        chosen = choose_crosses(4, seen, np.random.default_rng(b))
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 4
        seen[chosen] += 1
    assert seen.tolist() == [2] * 10
    assert choose_crosses(10, seen, np.random.default_rng(0)) == list(range(10))


def test_a_cross_says_which_rows_agree_in_all_its_columns():
    codes = np.random.default_rng(1).integers(-1, 3, size=(200, 3))
    column = column_of(codes, (0, 1, 2))
    assert set(column) == set(range(len(np.unique(codes, axis=0))))
    same = (codes[:, None] == codes[None]).all(axis=2)
    assert np.array_equal(column[:, None] == column[None], same)


def squared(item):
    return item * item


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_results_keep_their_order(processes):
    assert in_parallel(squared, list(range(7)), processes) == [i * i for i in range(7)]
