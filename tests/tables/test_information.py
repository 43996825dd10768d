"""Scores against known values, scikit-learn, and what must hold on average."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from tasks.tables.information import corrected_information, cross, dense, mutual_information

Y = np.array([0, 0, 1, 1, 0, 1, 0, 1])


def corrected(x, y, noise="permutation", repeats=3, seed=0):
    return corrected_information(np.asarray(x), np.asarray(y), noise, repeats, np.random.default_rng(seed))


@pytest.mark.parametrize("noise", ["permutation", "shift"])
def test_known_answers(noise):
    assert corrected(Y, Y, noise) == pytest.approx(np.log(2))
    assert corrected(np.arange(8), Y, noise) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.arange(8), Y) == pytest.approx(0.693147, abs=1e-6)
    assert corrected(np.zeros(8, int), Y, noise) == 0
    assert mutual_information(np.zeros(8, int), Y) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.array([0, 0, 1, 1, 2, 2, 3, 3]), Y) == pytest.approx(0.346574, abs=1e-6)


@pytest.mark.parametrize(("x", "value"), [([1, 1, 0, 0, 1, 1, 1, 1], 0.215762), ([1, 0, 0, 0, 1, 1, 1, 1], 0.380396)])
def test_known_answers_of_the_released_code(x, value):
    y = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert mutual_information(np.array(x), y) == pytest.approx(value, abs=1e-6)
    assert mutual_information(np.array(x), y) == pytest.approx(mutual_info_score(x, y))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 20))
def test_plain_information_is_scikit_learns(seed, card_x, card_y):
    rng = np.random.default_rng(seed)
    x, y = dense(rng.integers(card_x, size=200))[0], dense(rng.integers(card_y, size=200))[0]
    assert mutual_information(x, y) == pytest.approx(mutual_info_score(x, y), abs=1e-9)
    order = rng.permutation(200)
    assert mutual_information(x[order], y[order]) == pytest.approx(mutual_information(x, y), abs=1e-9)


@pytest.mark.parametrize("noise", ["permutation", "shift"])
def test_renaming_values_changes_no_score(noise):
    rng = np.random.default_rng(0)
    x, y = rng.integers(20, size=300), rng.integers(2, size=300)
    renamed = rng.permutation(20)[x]
    assert corrected(x, y, noise) == corrected(renamed, y, noise)
    assert mutual_information(x, y) == pytest.approx(mutual_information(renamed, y))


@pytest.mark.parametrize("zipf", [False, True])
@pytest.mark.parametrize("card", [2, 30, 400])
def test_noise_of_any_cardinality_scores_zero_on_average(card, zipf):
    rng = np.random.default_rng(card)
    scores, plain = [], []
    for i in range(150):
        x = dense(rng.zipf(1.5, size=400) % card if zipf else rng.integers(card, size=400))[0]
        y = (rng.random(400) < 0.25).astype(int)
        scores.append(corrected(x, y, repeats=1, seed=i))
        plain.append(mutual_information(x, y))
    error = np.std(scores) / np.sqrt(150)
    assert abs(np.mean(scores)) < 3 * error
    assert np.mean(plain) > 3 * error


def test_background_keeps_value_counts_and_label_rate():
    """Brute force: the background is the information of the same column with labels permuted."""
    rng = np.random.default_rng(0)
    x, y = dense(rng.zipf(1.5, size=100) % 40)[0], rng.integers(2, size=100)
    background = mutual_information(x, np.random.default_rng(7).permutation(y))
    got = corrected_information(x, y, "permutation", 1, np.random.default_rng(7))
    assert got == pytest.approx(mutual_information(x, y) - background)


def test_shift_looks_up_values_by_label_count():
    """The released code, step by step: H(X|Y) of values from shifted rows less H(X|Y)."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(5, size=50), rng.integers(3, size=50)

    def conditional(values_of):
        total = 0.0
        for label in range(3):
            rows = np.flatnonzero(y == label)
            share = np.bincount(values_of(rows), minlength=5) / len(rows)
            total -= len(rows) / 50 * sum(p * np.log(p) for p in share if p > 0)
        return total

    expected = conditional(lambda rows: x[(rows + len(rows)) % 50]) - conditional(lambda rows: x[rows])
    assert corrected(x, y, "shift") == pytest.approx(expected)


def test_equal_sums_of_codes_are_not_equal_columns():
    x, y = np.array([1, 0, 1, 0, 1, 0, 0, 1]), np.array([0, 0, 1, 1, 0, 1, 0, 1])
    assert x.sum() == y.sum()
    assert corrected(x, y) < 0.5


def test_exclusive_or_is_seen_by_the_cross_alone():
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 4000))
    y = a ^ b
    assert abs(corrected(a, y)) < 0.002
    assert abs(corrected(b, y)) < 0.002
    assert corrected(cross(a, b), y) == pytest.approx(np.log(2), abs=0.005)


def test_crosses_do_not_collide():
    """("1", "11") and ("11", "1") are one text when joined without a separator."""
    a, b = np.array([1, 11, 1]), np.array([11, 1, 11])
    assert cross(a, b).tolist() == [0, 1, 0]
    big = np.random.default_rng(0).integers(1000, size=(2, 5000))
    assert len(np.unique(cross(*big))) == len(np.unique(big, axis=1).T)
