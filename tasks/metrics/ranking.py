"""How well a score ranks the relevant items before the others."""

import numpy as np
from sklearn.metrics import roc_curve


def average_precision_at(relevant: np.ndarray, score: np.ndarray, k: int) -> float:
    """Mean precision at the ranks of the relevant items among the first `k`, over min(k, relevant items).

    Equal scores: lower index first. 0..1; 0 if nothing is relevant.
    """
    first = np.argsort(-score, kind="stable")[:k]
    hit = relevant[first].astype(np.float64)
    possible = min(k, int(relevant.sum()))
    if possible == 0:
        return 0.0
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / possible)


def true_positive_rates(relevant: np.ndarray, score: np.ndarray, false_positive_rate: np.ndarray) -> np.ndarray:
    """The ROC curve read off at given false positive rates (linear between its corners), float64."""
    fpr, tpr, _ = roc_curve(relevant, score, drop_intermediate=False)
    # Where the curve rises straight up, its upper end counts.
    last = np.append(fpr[1:] != fpr[:-1], True)
    return np.interp(false_positive_rate, fpr[last], tpr[last])
