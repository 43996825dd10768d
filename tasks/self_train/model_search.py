"""Search for a model over growing sets of the best-ranked features.

Shape legend: n rows, F features, V values of the chosen features, m candidates.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tasks.artifacts import Dataset, Model, Network, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.progress import report
from tasks.tables.column_scores import column_of
from tasks.tables.replicates import replicate_rows

LEAST = 1e-7  # of a probability, so that a log-loss is finite


def model_search(
    dataset: Dataset,
    representation: Representation,
    pseudo_labels: PseudoLabels,
    *,
    prefixes: Literal["doubling", "all", "whole"] = "doubling",
    c: Annotated[float, Field(gt=0)] = 1.0,
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    max_iter: Annotated[int, Field(ge=1)] = 1000,
    seed: int,
) -> Model:
    """Candidates are the first 1, 2, 4, 8, ... features of the ranking; each is a logistic regression on one-hot columns, fitted
    on the first rows of train and scored on the rest; the best is refitted on all of train. A stand-in, chosen here, for the
    model search of OutRank's authors (arXiv 2309.01552), whose system is internal.

    Parameters
    ----------
    prefixes: "doubling": powers of two up to the features kept, and those; "all": every length; "whole": no
        search, only all features kept.
    c: inverse penalty. holdout: share of the train rows, the last ones, on which candidates are compared.
    max_iter: iterations of the solver (liblinear). A value seen once or never in the rows fitted on is "rare".

    `rows` int64 [n] (split test), `probability` float32 [n] of the larger label, `lengths` int64 [m],
    `prefix_probability` float32 [m, n], of each candidate refitted on all of train; `chosen` int64: features of the model.
    Curves `holdout_log_loss_by_features` and `fitting_cost_by_features` (values read by the solver, millions); meta
    `search_cost`, the sum over candidates, which stands for the time and, other than it, is the same on every machine.

    Raises ValueError: other than two labels; fewer than 5 train rows; a part with one label only.
    """
    train, test = replicate_rows(dataset, "train", seed), replicate_rows(dataset, "test", seed)
    labels, y_n = np.unique(dataset.labels("given_label", train), return_inverse=True)
    if len(labels) != 2:
        raise ValueError(f"dataset: 'given_label' has {len(labels)} values on train; model_search needs two")
    cut = len(train) - max(1, round(holdout * len(train)))
    if cut < 2 or len(np.unique(y_n[:cut])) < 2:
        raise ValueError(f"holdout: the first {cut} train rows hold one label only; lower 'holdout' or add rows")
    order = np.asarray(pseudo_labels.arrays["order"])
    kept = order[np.asarray(pseudo_labels.arrays["selected"])[order]]
    codes = np.asarray(dataset.arrays["codes"][np.concatenate([train, test])])
    members = np.asarray(representation.arrays["members"])
    column_Fn = [column_of(codes, tuple(int(j) for j in members[f] if j >= 0)) for f in kept]
    lengths = [2**i for i in range(len(kept).bit_length()) if 2**i < len(kept)] + [len(kept)]
    if prefixes == "all":
        lengths = list(range(1, len(kept) + 1))
    elif prefixes == "whole":
        lengths = [len(kept)]
    losses, costs, probabilities, refits = [], [], [], []
    for i, length in enumerate(lengths):
        columns = column_Fn[:length]
        part = _OneHot(columns, cut)
        model, cost = _fit(part.matrix(columns, slice(0, cut)), y_n[:cut], c, max_iter)
        losses.append(_loss(y_n[cut:], model.predict_proba(part.matrix(columns, slice(cut, len(train))))[:, 1]))
        costs.append(cost / 1e6)
        whole = _OneHot(columns, len(train))
        refit, _ = _fit(whole.matrix(columns, slice(0, len(train))), y_n, c, max_iter)
        probabilities.append(refit.predict_proba(whole.matrix(columns, slice(len(train), None)))[:, 1])
        refits.append((whole, refit))
        report(i + 1, len(lengths), loss=losses[-1])
    best = int(np.argmin(losses))  # ties: fewer features
    curves = curve_table("holdout_log_loss_by_features", lengths, losses)
    cost_curve = curve_table("fitting_cost_by_features", lengths, costs)
    return Model(
        {"curves": pd.concat([curves, cost_curve], ignore_index=True)},
        {
            "rows": test,
            "probability": probabilities[best].astype(np.float32),
            "lengths": np.array(lengths, dtype=np.int64),
            "prefix_probability": np.array(probabilities, dtype=np.float32),
            "chosen": kept[: lengths[best]].astype(np.int64),
        },
        {"logistic": _network(*refits[best], kept[: lengths[best]])},  # pyright: ignore[reportCallIssue]
        meta={"search_cost": float(sum(costs)), "labels": [int(v) for v in labels], "prefix": lengths[best]},
    )


class _OneHot:
    """One-hot coding of columns whose values occur at least twice in the first `fitted` rows; the rest is rare."""

    def __init__(self, columns: list[np.ndarray], fitted: int):
        self.index_of: list[np.ndarray] = []
        start = 0
        for column_n in columns:
            count = np.bincount(column_n[:fitted], minlength=int(column_n.max()) + 1)
            index = np.full(len(count), start, dtype=np.int64)  # place 0 of each column: rare
            common = np.flatnonzero(count > 1)
            index[common] = start + 1 + np.arange(len(common))
            self.index_of.append(index)
            start += len(common) + 1
        self.width = start

    def matrix(self, columns: list[np.ndarray], rows: slice) -> csr_matrix:
        """Sparse float64 [n, V] with one 1 per row and column."""
        places = np.stack([index[c[rows]] for index, c in zip(self.index_of, columns, strict=True)], axis=1)
        n, m = places.shape
        return csr_matrix((np.ones(n * m), places.ravel(), np.arange(0, n * m + 1, m)), shape=(n, self.width))


def _fit(x_nV: csr_matrix, y_n: np.ndarray, c: float, max_iter: int) -> tuple[LogisticRegression, float]:
    """The model, and the number of values that its solver has read."""
    model = LogisticRegression(C=c, solver="liblinear", max_iter=max_iter, random_state=0).fit(x_nV, y_n)
    return model, float(x_nV.nnz * int(np.max(model.n_iter_)))


def _loss(y_n: np.ndarray, probability_n: np.ndarray) -> float:
    return float(log_loss(y_n, np.clip(probability_n, LEAST, 1 - LEAST), labels=[0, 1]))


def _network(coding: _OneHot, model: LogisticRegression, features: np.ndarray) -> Network:
    """Weight of every value of every chosen feature: `weight` float64 [V], from `offset[i]` on those of feature i."""
    weights = [model.coef_[0][index] for index in coding.index_of]
    offset = np.cumsum([0, *(len(w) for w in weights)]).astype(np.int64)
    state = {"weight": np.concatenate(weights), "offset": offset, "intercept": np.asarray(model.intercept_, np.float64)}
    return Network({"kind": "one_hot_logistic", "features": [int(f) for f in features]}, state)
