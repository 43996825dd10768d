"""How good a ranking of features is, and the model that was built on its top.

Shape legend: F features, n test rows, m candidates.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.figures import png
from tasks.tables.ranking_figures import cardinality_figure, pair_figure, prefix_figure

METRICS = {
    "precision_at_k": "share of informative columns among the top k of the ranking (0..1, higher is better)",
    "average_precision": "area under precision and recall of the ranking (0..1, higher is better)",
    "log_loss": "of the chosen model on split test (nats, lower is better)",
    "auc": "area under the ROC curve of the chosen model on split test (0..1, higher is better)",
    "relative_information_gain": "1 - log_loss / entropy of the test click rate (at most 1, higher is better)",
    "n_features": "features of the chosen model",
    "search_cost": "values read by the solver over all candidates (millions, lower is cheaper)",
    "feature_groups": "groups of features that say the same thing",
}

LEAST = 1e-7


def feature_ranking_metrics(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    k: Annotated[int, Field(ge=1)] = 8,
    figures: bool = True,
) -> Metrics:
    """Ranking against the truth `informative` bool [p] if the data set declares it, and test quality of the model.

    k: length of the top. A cross counts as informative if all its columns are.

    Curves `log_loss_by_features` and `fitting_cost_by_features` (x: top features), `precision_by_length`. Figures
    `score_by_cardinality`, `prefixes`, `pairs`.

    Raises ValueError: `k` above the number of features; test rows of one label.
    """
    order = np.asarray(pseudo_labels.arrays["order"])
    if k > len(order):
        raise ValueError(f"k = {k} is more than the {len(order)} features; lower k")
    rows = np.asarray(model.arrays["rows"])
    y_n = dataset.labels("label", rows) == model.meta["labels"][1]
    if y_n.all() or not y_n.any():
        raise ValueError("dataset: the test rows hold one label only; neither AUC nor information gain exists")
    probability_n = np.asarray(model.arrays["probability"], dtype=np.float64)
    loss, rate = _loss(y_n, probability_n), float(y_n.mean())
    values = {
        "log_loss": loss,
        "auc": float(roc_auc_score(y_n, probability_n)),
        "relative_information_gain": 1 - loss / float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate)),
        "n_features": float(model.meta["prefix"]),
        "search_cost": float(model.meta["search_cost"]),
        "feature_groups": float(clusters.meta["n_clusters"]),
    }
    lengths = np.asarray(model.arrays["lengths"])
    losses = np.array([_loss(y_n, np.asarray(p, dtype=np.float64)) for p in model.arrays["prefix_probability"]])
    training = model.tables["curves"]
    costs = training.loc[training["curve"] == "fitting_cost_by_features", "y"].to_numpy()
    curves = [
        curve_table("log_loss_by_features", lengths, losses), curve_table("fitting_cost_by_features", lengths, costs),
    ]  # fmt: skip
    members = np.asarray(representation.arrays["members"])
    truth_F = None
    if "informative" in dataset.arrays:
        informative = np.append(np.asarray(dataset.arrays["informative"]), True)  # place -1: no column
        truth_F = informative[members].all(axis=1)
        values["precision_at_k"] = float(truth_F[order[:k]].mean())  # pyright: ignore[reportIndexIssue]
        if truth_F.any():
            values["average_precision"] = float(average_precision_score(truth_F[order], -np.arange(len(order))))  # pyright: ignore[reportIndexIssue]
        length = np.arange(1, min(len(order), 4 * k) + 1)
        curves.append(curve_table("precision_by_length", length, np.cumsum(truth_F[order])[: len(length)] / length))  # pyright: ignore[reportIndexIssue]
    drawn = {}
    if figures:
        features = representation.tables["features"]
        score_F = np.asarray(representation.arrays["embedding"])[:, 0]
        plain_F = np.asarray(representation.arrays["plain"])
        drawn["score_by_cardinality"] = png(
            cardinality_figure(features["cardinality"].to_numpy(), score_F, plain_F, truth_F)  # pyright: ignore[reportArgumentType]
        )
        drawn["prefixes"] = png(prefix_figure(lengths, losses, costs, int(model.meta["prefix"])))
        if "order" in clusters.arrays:
            shown = np.asarray(clusters.arrays["order"])[:60]
            score = np.array(representation.arrays["embedding"])[np.ix_(shown, shown + 1)]
            group = clusters.tables["units"]["cluster"].to_numpy()[shown]
            drawn["pairs"] = png(pair_figure(score, features["name"].iloc[shown].tolist(), group))
    return Metrics(tables={"curves": pd.concat(curves, ignore_index=True)}, meta={"values": values}, figures=drawn)


def _loss(y_n: np.ndarray, probability_n: np.ndarray) -> float:
    return float(log_loss(y_n, np.clip(probability_n, LEAST, 1 - LEAST), labels=[False, True]))
