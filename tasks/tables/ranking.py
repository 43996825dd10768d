"""Orders of features: by relevance, by relevance with redundancy and synergy, one of each group first."""

from collections.abc import Callable
from typing import Literal

import numpy as np

Strategy = Literal["median", "mean", "sum"]

SUMMARIES: dict[str, Callable[..., np.ndarray]] = {"median": np.median, "mean": np.mean, "sum": np.sum}


def by_relevance(relevance_F: np.ndarray) -> np.ndarray:
    """Features int64 [F], the most relevant first; ties in the order of the columns."""
    return np.argsort(-relevance_F, kind="stable")


def three_mr(
    relevance_F: np.ndarray,
    redundancy_FF: np.ndarray,
    synergy_FF: np.ndarray,
    paired: np.ndarray,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    strategy: Strategy = "median",
) -> np.ndarray:
    """3MR order int64 [F] (Skrlj & Mramor, arXiv 2309.01552; after Peng, Long & Ding, TPAMI 27, 2005).

    Starts with the most relevant; then always the feature with the largest
    rel(f) - `alpha` * summary of red(g, f) + `beta` * summary of syn(g, f) over the chosen g. Relevance,
    redundancy and synergy are each scaled to 0..1 over the values that were computed, never over the diagonal;
    pairs that were not count 0. Ties in the order of the columns.
    """
    count = len(relevance_F)
    is_pair = np.zeros((count, count), dtype=bool)
    is_pair[np.ix_(paired, paired)] = True
    np.fill_diagonal(is_pair, False)
    relevance_F = scaled(relevance_F, np.ones(count, dtype=bool))
    redundancy_FF, synergy_FF = scaled(redundancy_FF, is_pair), scaled(synergy_FF, is_pair)
    summary = SUMMARIES[strategy]
    chosen = [int(relevance_F.argmax())]
    rest = [f for f in range(count) if f != chosen[0]]
    while rest:
        pairs = np.ix_(chosen, rest)
        worth = relevance_F[rest] - alpha * summary(redundancy_FF[pairs], axis=0)
        worth = worth + beta * summary(synergy_FF[pairs], axis=0)
        chosen.append(rest.pop(int(worth.argmax())))
    return np.array(chosen, dtype=np.int64)


def scaled(values: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """Values min-max scaled to 0..1 over those `computed`, 0 elsewhere; all 0 where they are equal."""
    result = np.zeros(values.shape)
    if computed.any():
        low, high = values[computed].min(), values[computed].max()
        if high > low:
            result[computed] = (values[computed].astype(np.float64) - low) / (float(high) - low)
    return result


def one_per_group(relevance_F: np.ndarray, group_F: np.ndarray) -> np.ndarray:
    """The most relevant feature of each group, then the second of each, and so on; within a turn by relevance."""
    order = by_relevance(relevance_F)
    turn, seen = np.zeros(len(order), dtype=np.int64), np.zeros(int(group_F.max()) + 1, dtype=np.int64)
    for f in order:
        turn[f] = seen[group_F[f]]
        seen[group_F[f]] += 1
    return order[np.argsort(turn[order], kind="stable")]
