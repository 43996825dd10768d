"""Orders of features by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.tables.ranking import by_relevance, one_per_group, scaled, three_mr


def test_ties_are_ordered_by_column():
    assert by_relevance(np.array([0.5, 0.9, 0.5, -0.1, 0.9])).tolist() == [1, 4, 0, 2, 3]


def test_scaling_leaves_the_diagonal_out():
    """Scores of features with themselves are far above any pair and would squeeze all pairs together."""
    values = np.array([[9.0, 0.1, 0.2], [0.1, 7.0, 0.3], [0.2, 0.3, 8.0]])
    pairs = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(scaled(values, pairs), [[0, 0, 0.5], [0, 0, 1], [0.5, 1, 0]])
    assert (scaled(np.full((3, 3), 0.4), pairs) == 0).all()


def test_a_copy_comes_last_and_a_synergy_first():
    """0 is most relevant, 1 nearly equals it, 2 is weak alone and strong with 0, 3 is middling."""
    relevance = np.array([1.0, 0.9, 0.0, 0.3])
    redundancy, synergy = np.zeros((4, 4)), np.zeros((4, 4))
    redundancy[0, 1] = redundancy[1, 0] = 1.0
    synergy[0, 2] = synergy[2, 0] = 1.0
    everything = np.arange(4)
    assert by_relevance(relevance).tolist() == [0, 1, 3, 2]
    assert three_mr(relevance, redundancy, synergy, everything, strategy="sum").tolist() == [0, 2, 3, 1]
    # The median over 0 and 2 halves what 1 repeats of 0: 0.9 - 0.5 against 0.3.
    assert three_mr(relevance, redundancy, synergy, everything).tolist() == [0, 2, 1, 3]
    assert three_mr(relevance, redundancy, synergy, everything, beta=0.0).tolist() == [0, 3, 1, 2]
    assert three_mr(relevance, redundancy, synergy, everything, alpha=0.0, beta=0.0).tolist() == [0, 1, 3, 2]


def brute_force(relevance, redundancy, synergy, alpha, beta, summary):
    """3MR by its definition, one feature and one pair at a time, on values scaled already."""
    chosen = [max(range(len(relevance)), key=lambda f: (relevance[f], -f))]
    while len(chosen) < len(relevance):
        worth = {
            f: relevance[f]
            - alpha * summary([redundancy[g][f] for g in chosen])
            + beta * summary([synergy[g][f] for g in chosen])
            for f in range(len(relevance))
            if f not in chosen
        }
        chosen.append(max(worth, key=lambda f: (worth[f], -f)))
    return chosen


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["median", "mean", "sum"]), st.floats(0, 2), st.floats(0, 2))
def test_against_the_definition(seed, strategy, alpha, beta):
    rng = np.random.default_rng(seed)
    f = 7
    relevance, (redundancy, synergy) = rng.random(f), rng.random((2, f, f))
    redundancy, synergy = redundancy + redundancy.T, synergy + synergy.T
    off = ~np.eye(f, dtype=bool)

    def stretch(x, where):
        return np.where(where, (x - x[where].min()) / (x[where].max() - x[where].min()), 0)

    expected = brute_force(
        stretch(relevance, np.ones(f, bool)), stretch(redundancy, off), stretch(synergy, off), alpha, beta,
        {"median": np.median, "mean": np.mean, "sum": np.sum}[strategy],
    )  # fmt: skip
    got = three_mr(relevance, redundancy, synergy, np.arange(f), alpha=alpha, beta=beta, strategy=strategy)
    assert got.tolist() == expected


def test_pairs_that_were_not_computed_count_zero():
    relevance = np.array([1.0, 0.8, 0.6, 0.4])
    noise = np.full((4, 4), 50.0)  # would decide everything if it were read
    paired = np.array([0, 1])
    assert three_mr(relevance, noise, noise, paired).tolist() == [0, 1, 2, 3]


def test_one_of_each_group_first():
    relevance = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert one_per_group(relevance, np.array([0, 0, 1, 0, 1])).tolist() == [0, 2, 1, 4, 3]
    assert one_per_group(relevance[::-1].copy(), np.zeros(5, int)).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("order", [by_relevance(np.array([3.0, 1.0, 2.0]))])
def test_orders_are_int64(order):
    assert order.dtype == np.int64
