"""Scores of columns against a label and against each other, batch by batch, on one or several processes.

Shape legend: n rows of a batch, p features, m columns of a feature.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import OneHotEncoder

from tasks.tables.information import Noise, corrected_information, cross, dense, mutual_information

Heuristic = Literal[
    "corrected_mutual_information",
    "mutual_information",
    "adjusted_mutual_information",
    "surrogate",
    "max_pair_coverage",
    "random_forest",
]


@dataclass(frozen=True)
class Scorer:
    """How a column is scored: `heuristic`, and the background of the corrected score."""

    heuristic: Heuristic
    noise: Noise
    repeats: int

    def score(self, x_n: np.ndarray, y_n: np.ndarray, stream: tuple[int, ...]) -> float:
        """Score of one pair of columns; `stream` names its own random numbers, so no order of work changes them."""
        if x_n.max() == 0 or y_n.max() == 0:
            return 0.0
        rng = np.random.default_rng(list(stream))
        if self.heuristic == "mutual_information":
            return mutual_information(x_n, y_n)
        if self.heuristic == "adjusted_mutual_information":
            return float(adjusted_mutual_info_score(y_n, x_n))
        if self.heuristic == "max_pair_coverage":
            return float(np.unique(x_n * (int(y_n.max()) + 1) + y_n, return_counts=True)[1].max() / len(x_n))
        if self.heuristic == "surrogate":
            return surrogate(x_n, y_n, rng)
        return corrected_information(x_n, y_n, self.noise, self.repeats, rng)


def surrogate(x_n: np.ndarray, y_n: np.ndarray, rng: np.random.Generator) -> float:
    """1 + median negative log-loss, over 2 folds, of logistic regression by SGD on the one-hot column."""
    one_hot = OneHotEncoder(handle_unknown="ignore").fit_transform(x_n[:, None])
    model = SGDClassifier(loss="log_loss", random_state=int(rng.integers(2**31 - 1)))
    return 1 + float(np.median(cross_val_score(model, one_hot, y_n, cv=2, scoring="neg_log_loss")))


def forest_importances(codes_np: np.ndarray, y_n: np.ndarray, trees: int, rng: np.random.Generator) -> np.ndarray:
    """Mean decrease in impurity of each column, float64 [p] (Breiman 2001), codes taken as numbers."""
    forest = RandomForestClassifier(trees, random_state=int(rng.integers(2**31 - 1)), n_jobs=1)
    return forest.fit(codes_np, y_n).feature_importances_


def batches(count: int, batch_size: int, least: int) -> Iterator[slice]:
    """`count` rows in runs of `batch_size`; a last, shorter one only with more than `least` rows, unless it is the only one."""
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        if start == 0 or size == batch_size or size > least:
            yield slice(start, start + size)


def choose_crosses(most: int, seen: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Indices of the at most `most` crosses for the next batch: those seen in fewest batches, chance among equals."""
    count = len(seen)
    if count <= most:
        return list(range(count))
    shuffled = rng.permutation(count)
    chosen = shuffled[np.argsort(seen[shuffled], kind="stable")[:most]]
    return sorted(chosen.tolist())


def crosses_of(p: int, order: int) -> list[tuple[int, ...]]:
    """All sets of 2 to `order` columns, smaller ones first."""
    return [members for m in range(2, order + 1) for members in combinations(range(p), m)]


def column_of(codes_np: np.ndarray, members: tuple[int, ...]) -> np.ndarray:
    """Dense codes int64 [n] of one column or of the cross of several."""
    column_n = dense(codes_np[:, members[0]])[0]
    for member in members[1:]:
        column_n = cross(column_n, dense(codes_np[:, member])[0])
    return column_n


def in_parallel(work: Callable, items: list, processes: int) -> list:
    """Results of `work(item)` in the order of `items`; the number of processes changes nothing but the time."""
    if processes == 1 or len(items) < 2:
        return [work(item) for item in items]
    chunks = [items[i::processes] for i in range(processes)]
    parts = Parallel(n_jobs=processes)(delayed(_each)(work, chunk) for chunk in chunks)
    results = [None] * len(items)
    for i, part in enumerate(parts):
        results[i::processes] = part  # pyright: ignore[reportArgumentType, reportCallIssue]
    return results


def _each(work: Callable, items: list) -> list:
    return [work(item) for item in items]
