"""Mutual information of columns of codes, corrected for what noise of the same value counts would show.

Shape legend: n rows. Codes are 0, 1, ...; logarithms are natural.
"""

from typing import Literal

import numpy as np

Noise = Literal["permutation", "shift"]

# Above so many cells per row a joint table is counted by sorting instead.
CELLS_PER_ROW = 8


def dense(column_n: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes 0..C-1 of any integers, in their order, and C."""
    values, codes_n = np.unique(column_n, return_inverse=True)
    return codes_n.astype(np.int64), len(values)


def cross(a_n: np.ndarray, b_n: np.ndarray) -> np.ndarray:
    """Codes of pairs, a * (max b + 1) + b, made dense: distinct pairs never collide."""
    return dense(a_n.astype(np.int64) * (int(b_n.max()) + 1) + b_n)[0]


def count_information(a_n: np.ndarray, card_a: int, b_n: np.ndarray, card_b: int) -> float:
    """Sum of m ln m over the cells of the joint table of two columns of dense codes."""
    pair_n = a_n * card_b + b_n
    if card_a * card_b <= CELLS_PER_ROW * len(a_n):
        counts = np.bincount(pair_n)
    else:
        pair_n.sort()
        counts = np.diff(np.flatnonzero(np.concatenate([[True], pair_n[1:] != pair_n[:-1], [True]])))
    counts = counts[counts > 1].astype(np.float64)
    return float((counts * np.log(counts)).sum())


def entropy_sum(column_n: np.ndarray) -> float:
    """Sum of m ln m over the values of one column."""
    counts = np.bincount(column_n)
    counts = counts[counts > 1].astype(np.float64)
    return float((counts * np.log(counts)).sum())


def mutual_information(x_n: np.ndarray, y_n: np.ndarray) -> float:
    """I(X; Y) in nats of two columns of dense codes; never negative."""
    n = len(x_n)
    joint = count_information(x_n, int(x_n.max()) + 1, y_n, int(y_n.max()) + 1)
    return max((joint - entropy_sum(x_n) - entropy_sum(y_n)) / n + float(np.log(n)), 0.0)


def corrected_information(
    x_n: np.ndarray, y_n: np.ndarray, noise: Noise, repeats: int, rng: np.random.Generator
) -> float:
    """s(X, Y) = H_background(Y|X) - H(Y|X): information beyond that of noise with the same value counts.

    The background pairs the columns' values anew: with labels of row pi(i), pi one permutation of all rows ("permutation",
    mean over `repeats`), or, for a row whose label occurs n_y times, with the value of row (i + n_y) mod n ("shift").
    Counts of one column cancel, so only the joint tables matter. May be negative. Equal columns score H(Y).

    A permutation keeps the counts of both columns. The shift, which is what the released code computes (it hands the
    label over as the column to condition on), keeps those of the label alone: the shifted rows of its values overlap.
    """
    n, card_x, card_y = len(x_n), int(x_n.max()) + 1, int(y_n.max()) + 1
    if card_x == 1 or card_y == 1:
        return 0.0
    if np.array_equal(x_n, y_n):
        return float(np.log(n)) - entropy_sum(y_n) / n
    joint = count_information(x_n, card_x, y_n, card_y)
    if noise == "shift":
        shifted_n = x_n[(np.arange(n) + np.bincount(y_n)[y_n]) % n]
        return (joint - count_information(shifted_n, card_x, y_n, card_y)) / n
    background = [count_information(x_n, card_x, rng.permutation(y_n), card_y) for _ in range(repeats)]
    return (joint - float(np.mean(background))) / n
