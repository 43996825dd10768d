"""Labels of all vertices for one target from a few examples: logistic regression on the attributes."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression


def fit_node_classifier(embedding: np.ndarray, positive: np.ndarray, negative: np.ndarray, c: float) -> np.ndarray:
    """Probability float32 [n] of belonging to the target, by L2-penalised logistic regression (inverse penalty `c`)."""
    rows = np.concatenate([positive, negative])
    y = np.repeat([1, 0], [len(positive), len(negative)])
    model = LogisticRegression(C=c, max_iter=2000).fit(np.array(embedding[rows], dtype=np.float64), y)
    # Not predict_proba: one matrix product in float64 is all that is needed.
    logit = np.asarray(embedding, dtype=np.float64) @ model.coef_[0] + model.intercept_[0]
    return (1 / (1 + np.exp(-np.clip(logit, -500, 500)))).astype(np.float32)


def diffusion_examples(
    n: int, reached: np.ndarray, positives: int, negatives: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The first `positives` of `reached` (largest potential first), and `negatives` random vertices not among them.

    Fewer if there are fewer. Raises `ValueError` if `reached` is the whole graph.
    """
    inside = set(reached.tolist())
    left = n - len(inside)
    if left == 0:
        raise ValueError(
            "negatives: the diffusion reached every vertex of the graph; lower 'mass' of flow_diffusion, or raise 'rho' of pagerank"
        )
    wanted = min(negatives, left)
    if 2 * wanted > left:  # hardly any outside: look through all
        outside = np.setdiff1d(np.arange(n), reached)
        return reached[:positives], rng.permutation(outside)[:wanted]
    chosen: dict[int, None] = {}
    while len(chosen) < wanted:
        vertex = int(rng.integers(n))
        if vertex not in inside:
            chosen[vertex] = None
    return reached[:positives], np.array(list(chosen), dtype=np.int64)


def few_shot_examples(
    given: np.ndarray, target: int, positives: int, negatives: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random vertices with granted label `target`, and with another one (`given` int64 [n], -1: none granted).

    Raises `ValueError` if the setting grants fewer than asked for.
    """
    member, other = np.flatnonzero(given == target), np.flatnonzero((given >= 0) & (given != target))
    for key, wanted, pool, what in (
        ("positives", positives, member, f"of class {target}"),
        ("negatives", negatives, other, f"of other classes than {target}"),
    ):
        if wanted > len(pool):
            raise ValueError(
                f"{key}: {wanted} wanted, but {len(pool)} labels {what} are granted; lower '{key}' or raise "
                "'labelled_per_class' of the data set"
            )
    return rng.permutation(member)[:positives], rng.permutation(other)[:negatives]
