"""How much of the classes frozen features hold: with a few labels, and with none.

Shape legend: U units (images), K classes, S images of the sweep.
"""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.figures import COLOURS, png, subplots
from tasks.metrics.classification import recall_by_class
from tasks.metrics.clustering import clustering_accuracy
from tasks.metrics.probe import probe_accuracy

METRICS = {
    "accuracy": "share of test images that the head predicts right (0..1, higher is better)",
    "mean_class_accuracy": "mean over classes of the share predicted right (0..1, higher is better)",
    "clustering_accuracy": "share of test images right under the best one-to-one map of clusters to classes (0..1)",
    "clustering_nmi": "normalised mutual information of clusters and classes of test images (0..1, higher is better)",
    "silhouette": "mean silhouette of the clusters, without labels (-1..1, higher is better)",
    "best_block": "block of the highest probe accuracy on val in the sweep",
    "best_t": "time step of the highest probe accuracy on val in the sweep",
}
_SIZES = (2, 5, 10, 20, 40, 80)


def frozen_features(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    regularization: Annotated[float, Field(gt=0)] = 0.1,
    figures: bool = True,
) -> Metrics:
    """Accuracy of the head, agreement of the clusters with the classes, and accuracy against the number of labels.

    regularization: inverse penalty of the logistic regressions behind curve, sweep and `best_*`.

    Curves: `recall_by_class`; `accuracy_by_labels_per_class` (a linear probe on the first labels of each class). Where the
    features hold a sweep: `best_block` and `best_t`, chosen on val, and figures `blocks_and_steps` (accuracy on val) and
    `projection` (images of val in the first principal components of three blocks).

    Raises ValueError: no image of split test.
    """
    sample = representation.tables["units"]["sample"].to_numpy()
    test = np.flatnonzero(np.isin(sample, dataset.rows("test")))
    if len(test) == 0:
        raise ValueError("representation: no image of split 'test'")
    truth_U = dataset.labels("label", sample)
    predicted = model.tables["predictions"]["prediction"].to_numpy()[test]
    classes, recall = recall_by_class(predicted, truth_U[test])
    cluster = clusters.tables["units"]["cluster"].to_numpy()[test]
    values = {
        "accuracy": float((predicted == truth_U[test]).mean()),
        "mean_class_accuracy": float(recall.mean()),
        "clustering_accuracy": clustering_accuracy(cluster, truth_U[test]),
        "clustering_nmi": float(normalized_mutual_info_score(truth_U[test], cluster)),
    }
    if "silhouette" in clusters.meta:
        values["silhouette"] = float(clusters.meta["silhouette"])
    x_UD, rank_U = np.array(representation.arrays["embedding"]), np.asarray(pseudo_labels.arrays["rank"])
    sizes = [m for m in _SIZES if m <= rank_U.max() + 1]
    accuracies = []
    for m in sizes:
        first = np.flatnonzero((rank_U >= 0) & (rank_U < m))
        accuracies.append(probe_accuracy(x_UD[first], truth_U[first], x_UD[test], truth_U[test], regularization))
    tables = [curve_table("recall_by_class", classes, recall)]
    tables.append(curve_table("accuracy_by_labels_per_class", sizes, accuracies))
    drawn: dict[str, bytes] = {}
    if "sweep_t" in representation.meta:
        accuracy_TB = sweep_accuracy(dataset, representation, regularization)
        row, column = np.unravel_index(accuracy_TB.argmax(), accuracy_TB.shape)
        values["best_block"], values["best_t"] = float(column + 1), float(representation.meta["sweep_t"][row])
        if figures:
            drawn["blocks_and_steps"] = png(_heat_map(accuracy_TB, representation.meta["sweep_t"]))
            drawn["projection"] = png(_projection(dataset, representation))
    return Metrics({"curves": pd.concat(tables, ignore_index=True)}, figures=drawn, meta={"values": values})


def sweep_accuracy(dataset: Dataset, representation: Representation, regularization: float) -> np.ndarray:
    """Probe accuracy [time steps, blocks] on val, of classifiers fitted on the sweep's images of train."""
    sample = np.asarray(representation.arrays["sweep_samples"])
    label_S = dataset.labels("label", sample)
    is_val = np.isin(sample, dataset.rows("val"))
    rows = []
    for t in representation.meta["sweep_t"]:
        rows.append(
            [
                probe_accuracy(x_SD[~is_val], label_S[~is_val], x_SD[is_val], label_S[is_val], regularization)
                for x_SD in _by_block(representation, t)
            ]
        )
    return np.array(rows)


def _by_block(representation: Representation, t: int) -> list[np.ndarray]:
    ends = np.cumsum(representation.meta["block_widths"])[:-1]
    return np.split(np.array(representation.arrays[f"sweep_{t}"], dtype=np.float64), ends, axis=1)


def _heat_map(accuracy_TB: np.ndarray, steps: list[int]) -> Figure:
    axis: Any
    figure, axis = subplots(figsize=(0.75 * accuracy_TB.shape[1] + 1.2, 0.45 * len(steps) + 1.2))
    image = axis.imshow(accuracy_TB, cmap="viridis", aspect="auto")
    low, high = accuracy_TB.min(), accuracy_TB.max()
    for row, column in np.ndindex(*accuracy_TB.shape):
        value = accuracy_TB[row, column]
        dark = value < (low + high) / 2
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
    axis.set_xticks(range(accuracy_TB.shape[1]), range(1, accuracy_TB.shape[1] + 1))
    axis.set_yticks(range(len(steps)), steps)
    axis.set(xlabel="block", ylabel="time step t", title="Accuracy of a linear probe on val")
    figure.colorbar(image, ax=axis)
    return figure


def _projection(dataset: Dataset, representation: Representation) -> Figure:
    sample = np.asarray(representation.arrays["sweep_samples"])
    is_val = np.isin(sample, dataset.rows("val"))
    label = dataset.labels("label", sample[is_val])
    names = dataset.meta.get("class_names")
    t = min(representation.meta["sweep_t"], key=lambda other: abs(other - representation.meta["t"]))
    blocks = _by_block(representation, t)
    shown = sorted({1, representation.meta["block"], len(blocks)})
    axes: Any
    figure, axes = subplots(1, len(shown), figsize=(3.3 * len(shown) + 0.8, 3.2), squeeze=False)
    for axis, block in zip(axes[0], shown, strict=True):
        x = blocks[block - 1][is_val]
        deviation = x.std(axis=0)
        xy = PCA(2, svd_solver="full").fit_transform((x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1))
        for k in np.unique(label):
            name = str(k) if names is None else names[k]
            colour, marker = COLOURS[k % len(COLOURS)], "o^sD"[k // len(COLOURS) % 4]
            axis.scatter(*xy[label == k].T, s=12, color=colour, marker=marker, label=name, linewidths=0)
        axis.set(xticks=[], yticks=[], title=f"block {block}, t = {t}")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.5)
    figure.suptitle("Images of val in the first two principal components", fontsize=10)
    return figure
