"""Fraud that was missed and is found, in money; and rules judged on later days.

Shape legend: N units, C clusters.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.cluster.hdbscan import exact_labels
from tasks.curves import curve_table
from tasks.sequences.figures import condensed_tree_figure, strips_figure

METRICS = {
    "dollar_f1": "harmonic mean of dollar precision and dollar recall (0..1, higher is better)",
    "dollar_precision": "share of the money flagged, and not yet known to be bad, that is fraud (0..1)",
    "dollar_recall": "share of the money of fraud not yet known that is flagged (0..1)",
    "f1": "harmonic mean of precision and recall in transactions (0..1, higher is better)",
    "precision": "share of transactions flagged, and not yet known, that are fraud (0..1)",
    "recall": "share of fraud not yet known that is flagged (0..1); isolated fraud is out of reach",
    "clusters": "clusters found",
    "risky_clusters": "clusters with enough known bad cases",
    "noise_share": "share of units in no cluster (0..1)",
    "purity": "share of clustered units whose cluster's majority comes from the same script, or from none (0..1)",
    "rules": "rules that were precise enough in training",
    "rule_precision": "share of later transactions covered by a rule that are fraud (0..1, higher is better)",
    "rule_recall": "share of later fraud that a rule covers (0..1, higher is better)",
    "exact_agreement": "adjusted Rand index with exact HDBSCAN of the same settings (phdbscan only; 1 is equal)",
}
THRESHOLDS = np.round(np.arange(0.02, 0.62, 0.02), 2)


def fraud_metrics(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    agreement: bool = True,
    figures: bool = True,
) -> Metrics:
    """Dollar precision, recall and F1 on fraud not yet known, as FinDeepBehaviorCluster (Min et al., 2021, arXiv 2101.04285).

    Known bad cases count nowhere: neither as found nor as missed. Rules are judged on split test, which neither the
    clusters nor the rules have seen. Precision is 0 where nothing is flagged.

    Parameters
    ----------
    agreement: compare the clusters of `phdbscan` with exact HDBSCAN of the same representation (seconds at 5,000 units,
        and growing with their square).

    Needs `label`, `given_label`, `amount`; `purity` needs the truth `group`. Curve `dollar_f1 by risk threshold`: dollar F1
    (y) had clusters with a known bad share of at least x been flagged. Figures: `condensed_tree`, `risky_cluster`.
    """
    units = clusters.tables["units"]
    sample_N, cluster_N = units["sample"].to_numpy(), units["cluster"].to_numpy(dtype=np.int64)
    fraud_N = dataset.labels("label", sample_N) == 1
    unknown_N = (dataset.samples["given_label"].iloc[sample_N].fillna(0) != 1).to_numpy(dtype=bool)
    amount_N = np.array(dataset.arrays["amount"][sample_N], dtype=np.float64)
    flagged_N = pseudo_labels.tables["units"]["pseudo_label"].to_numpy() == 1
    table = pseudo_labels.tables["clusters"]
    values = dict(zip(("dollar_precision", "dollar_recall", "dollar_f1"),
                      scores(fraud_N, flagged_N, unknown_N * amount_N), strict=True))  # fmt: skip
    values |= dict(zip(("precision", "recall", "f1"), scores(fraud_N, flagged_N, unknown_N * 1.0), strict=True))
    values |= {
        "clusters": float(len(table)),
        "risky_clusters": float(table["risky"].sum()),  # pyright: ignore[reportArgumentType]
        "noise_share": float((cluster_N < 0).mean()),
        "rules": float(len(model.meta["rules"])),
    }
    if "group" in dataset.arrays:
        values["purity"] = purity(cluster_N, np.array(dataset.arrays["group"][sample_N]))
    predictions = model.tables["predictions"]
    later_N = dataset.labels("label", predictions["sample"].to_numpy()) == 1
    covered_N = predictions["prediction"].to_numpy() == 1
    values["rule_precision"], values["rule_recall"], _ = scores(later_N, covered_N, np.ones(len(later_N)))
    settings = clusters.meta.get("settings", {})
    if agreement and "n_neighbors" in settings:
        x_ND = np.array(representation.arrays["embedding"], dtype=np.float64)
        exact_N, _ = exact_labels(x_ND, **{k: v for k, v in settings.items() if k != "n_neighbors"})
        values["exact_agreement"] = float(adjusted_rand_score(exact_N, cluster_N))
    metrics = Metrics({"curves": _threshold_curve(table, cluster_N, fraud_N, unknown_N * amount_N, pseudo_labels)})
    metrics.meta["values"] = values
    if figures and "condensed_tree" in clusters.tables:
        metrics.figures["condensed_tree"] = condensed_tree_figure(clusters, table)
    if figures and "attention" in representation.arrays and table["risky"].any():  # pyright: ignore[reportGeneralTypeIssues]
        metrics.figures["risky_cluster"] = strips_figure(dataset, representation, clusters, table, model)
    return metrics


def scores(true_N: np.ndarray, flagged_N: np.ndarray, weight_N: np.ndarray) -> tuple[float, float, float]:
    """Weighted precision, recall and F1; each is 0 where its denominator is."""
    hit = float(weight_N[true_N & flagged_N].sum())
    flagged, true = float(weight_N[flagged_N].sum()), float(weight_N[true_N].sum())
    precision, recall = (hit / total if total > 0 else 0.0 for total in (flagged, true))
    return precision, recall, 2 * precision * recall / (precision + recall) if hit > 0 else 0.0


def purity(cluster_N: np.ndarray, group_N: np.ndarray) -> float:
    """Share of clustered units that belong to the commonest group of their cluster; 0 without clusters."""
    member = cluster_N >= 0
    if not member.any():
        return 0.0
    counts = np.zeros((cluster_N.max() + 1, group_N.max() + 1), dtype=np.int64)
    np.add.at(counts, (cluster_N[member], group_N[member]), 1)
    return float(counts.max(axis=1).sum() / member.sum())


def _threshold_curve(
    table: pd.DataFrame, cluster_N: np.ndarray, fraud_N: np.ndarray, weight_N: np.ndarray, pseudo_labels: PseudoLabels
) -> pd.DataFrame:
    enough_C = table["known"].to_numpy() >= pseudo_labels.meta["min_known"]
    # One more entry, so that noise (-1) finds False.
    flags = [np.append(enough_C & (table["share"].to_numpy() >= t), False)[cluster_N] for t in THRESHOLDS]
    return curve_table("dollar_f1 by risk threshold", THRESHOLDS, [scores(fraud_N, f, weight_N)[2] for f in flags])
