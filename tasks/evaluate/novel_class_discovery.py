"""How well novel classes were found, on rows that took no part in it."""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, Representation
from tasks.curves import curve_table
from tasks.discovery.known_and_novel import space_of
from tasks.figures import COLOURS, png, subplots
from tasks.metrics.clustering import clustering_accuracy, contingency

METRICS = {
    "acc_novel": "accuracy on novel test rows under the best one-to-one map of clusters to classes; higher is better",
    "nmi_novel": "normalised mutual information of clusters and classes on novel test rows; higher is better",
    "ari_novel": "adjusted Rand index on novel test rows; higher is better",
    "acc_known": "accuracy on known test rows when novel classes are possible too; higher is better",
    "acc_all": "accuracy on all test rows, not told which are novel, novel classes mapped one to one; higher is better",
    "k_estimated": "number of novel classes that the silhouette chose",
    "k_error": "distance of k_estimated from the true number of novel classes; lower is better",
}
FIGURE_ROWS = 500


def novel_class_discovery(
    dataset: Dataset, representation: Representation, clusters: Clusters, model: Model, *, figures: bool = True
) -> Metrics:
    """Protocol of Troisemaine et al. (arXiv 2311.05440): novel test rows, told to be novel, scored by ACC.

    A surplus cluster counts as wrong. `acc_known` and `acc_all` use the choice among known and novel classes, where
    nothing says which kind a row is. `k_estimated` and `k_error` exist where the clustering estimated k.

    Curve `recall by novel class` (true label, share of its test rows that are mapped to it). Figures: `latent_space`
    (t-SNE of test rows, van der Maaten & Hinton 2008), `silhouette` where k was estimated.

    Raises ValueError: no split `test`, test rows without label, no novel test rows.
    """
    rows = dataset.rows("test")
    label = dataset.labels("label", rows)
    known_classes = np.array(model.meta["known_classes"], dtype=np.int64)
    is_known = np.isin(label, known_classes)
    if is_known.all():
        raise ValueError("dataset: no test row is of a novel class; raise 'test_size'")
    truth, found = label[~is_known], np.asarray(model.arrays["novel_prediction"])[rows[~is_known]]
    joint = np.asarray(model.arrays["prediction"])[rows]
    values = {
        "acc_novel": clustering_accuracy(found, truth),
        "nmi_novel": float(normalized_mutual_info_score(truth, found)),
        "ari_novel": float(adjusted_rand_score(truth, found)),
        "acc_all": _joint_accuracy(joint, label, known_classes),
    }
    if is_known.any():
        own = np.searchsorted(known_classes, label[is_known])
        values["acc_known"] = float((joint[is_known] == own).mean())
    all_label = dataset.samples["label"].dropna().to_numpy(dtype=np.int64)
    true_k = len(np.setdiff1d(all_label, known_classes))
    estimated = clusters.meta.get("k_estimated")
    if estimated is not None:
        values |= {"k_estimated": float(estimated), "k_error": float(abs(estimated - true_k))}
    pictures = {}
    if figures:
        x_ND = space_of(dataset, representation, str(model.meta["array"]))[rows]
        names = dataset.meta.get("class_names")
        pictures["latent_space"] = _latent_space(x_ND, label, is_known, names)
        if estimated is not None:
            curve = clusters.tables["curves"].query("curve == 'silhouette_by_k'")
            pictures["silhouette"] = _silhouette(curve, true_k, estimated)
    classes, recall = _recall(found, truth)
    curves = curve_table("recall by novel class", classes, recall)
    return Metrics({"curves": curves}, figures=pictures, meta={"values": values})


def _joint_accuracy(joint: np.ndarray, label: np.ndarray, known_classes: np.ndarray) -> float:
    """Right are known rows with their class, and novel rows under the best map of novel predictions to classes."""
    is_known = np.isin(label, known_classes)
    right = int((joint[is_known] == np.searchsorted(known_classes, label[is_known])).sum())
    called_novel = ~is_known & (joint >= len(known_classes))
    if called_novel.any():
        right += round(clustering_accuracy(joint[called_novel], label[called_novel]) * int(called_novel.sum()))
    return right / len(label)


def _recall(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table_KC = contingency(found, truth)
    mapped, of_class = linear_sum_assignment(table_KC, maximize=True)
    recall_C = np.zeros(table_KC.shape[1])
    recall_C[of_class] = table_KC[mapped, of_class] / table_KC.sum(axis=0)[of_class]
    return np.unique(truth), recall_C


def _latent_space(x_ND: np.ndarray, label: np.ndarray, is_known: np.ndarray, names: list[str] | None) -> bytes:
    if len(x_ND) > FIGURE_ROWS:
        some = np.sort(np.random.default_rng(0).choice(len(x_ND), FIGURE_ROWS, replace=False))
        x_ND, label, is_known = x_ND[some], label[some], is_known[some]
    perplexity = min(30.0, (len(x_ND) - 1) / 3)
    place_N2 = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=0).fit_transform(x_ND)
    figure, axes = subplots(figsize=(5.4, 4.4))
    axes.scatter(*place_N2[is_known].T, s=7, color="#BBBBBB", label="known", linewidths=0)
    for position, value in enumerate(np.unique(label[~is_known])):
        mine = label == value
        marker = "o^sD"[position // len(COLOURS) % 4]
        name = names[value] if names is not None else str(value)
        axes.scatter(*place_N2[mine].T, s=11, color=COLOURS[position % len(COLOURS)], marker=marker, label=name, lw=0)
    axes.set(xticks=[], yticks=[], title="Test rows, t-SNE: novel classes in colour, known in grey")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)
    return png(figure)


def _silhouette(curve: pd.DataFrame, true_k: int, estimated: int) -> bytes:
    figure, axes = subplots(figsize=(4.8, 3.2))
    axes.plot(curve["x"], curve["y"], marker="o", markersize=3)
    axes.axvline(true_k, color="#777777", linestyle="--", label=f"true number, {true_k}")
    at = curve["x"] == estimated
    axes.plot(curve["x"][at], curve["y"][at], "o", color=COLOURS[1], label=f"chosen, {estimated}")
    axes.set(xlabel="number of novel classes k", ylabel="mean silhouette", title="Novel train rows")
    axes.legend()
    return png(figure)
