"""Features judged by linear classifiers, and the clusters found beside them.

Shape legend: n samples, S snapshots, K clusters.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, Representation
from tasks.clustering.prototype_figures import members_figure, usage_figure
from tasks.curves import curve_table
from tasks.evaluate.linear_probe import linear_probe
from tasks.figures import png
from tasks.metrics.cluster_sizes import normalised_entropy

METRICS = {
    "accuracy": "share of test samples that a linear classifier on the features gets right, fitted on all labels of train (0..1, higher is better)",
    "few_label_accuracy": "share of test samples that the model, which was granted few labels, gets right (0..1, higher is better)",
    "nmi": "normalised mutual information of clusters and classes, all samples (0..1, higher is better)",
    "ari": "adjusted Rand index of clusters and classes, all samples (at most 1, higher is better)",
    "prototype_entropy": "entropy of the cluster sizes over log K (1: all equal, 0: one cluster has all)",
}


def probe_and_clustering(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    model: Model,
    *,
    regularization: Annotated[float, Field(gt=0)] = 1.0,
    figures: bool = True,
    seed: int,
) -> Metrics:
    """Linear evaluation (Chen et al., ICML 2020, arXiv 2002.05709, section 4.2) of the model's `embedding`, fitted on the
    true labels of split train and judged on split test; accuracy of the model's own predictions there; agreement of the
    clusters with the classes.

    regularization: inverse penalty C of the logistic regression.

    Curves: `share_of_samples_by_prototype_rank` (share of samples in the largest, second ... cluster), `probe_accuracy_by_epoch` if the
    representation holds `embedding_by_epoch`. Figures: `prototype_usage` (samples of each cluster by class), `prototypes`
    (the images with the highest membership, if there are memberships and images).

    Raises ValueError: a cluster for some samples only, a sample without truth.
    """
    units = clusters.tables["units"]
    cluster = units["cluster"].to_numpy()
    if not np.array_equal(units["sample"].to_numpy(), np.arange(len(dataset.samples))) or (cluster < 0).any():
        raise ValueError("clusters: every sample must have a cluster, one unit per sample")

    def probe(embedding: np.ndarray) -> float:
        features = Model(arrays={"embedding": embedding})
        options = {"class_weight": "none", "regularization": regularization, "figures": False}
        return linear_probe(dataset, features, **options, seed=seed).values["accuracy"]

    truth_n, test = dataset.labels("label", np.arange(len(dataset.samples))), dataset.rows("test")
    predictions = model.tables["predictions"]
    sample, prediction = predictions["sample"].to_numpy(), predictions["prediction"].to_numpy()
    judged = np.isin(sample, test)
    right = prediction[judged] == truth_n[sample[judged]]
    size_K = np.bincount(cluster, minlength=int(clusters.meta["n_clusters"]))
    values = {
        "accuracy": probe(model.arrays["embedding"]),
        "few_label_accuracy": float(right.mean()),
        "nmi": float(normalized_mutual_info_score(truth_n, cluster)),
        "ari": float(adjusted_rand_score(truth_n, cluster)),
        "prototype_entropy": normalised_entropy(size_K),
    }
    curves = [
        curve_table("share_of_samples_by_prototype_rank", range(1, len(size_K) + 1), -np.sort(-size_K) / len(cluster))
    ]
    if "snapshot_epochs" in representation.arrays:
        epochs = np.asarray(representation.arrays["snapshot_epochs"])
        accuracies = [probe(embedding) for embedding in representation.arrays["embedding_by_epoch"]]
        curves.append(curve_table("probe_accuracy_by_epoch", epochs, accuracies))
    drawn = {}
    if figures:
        drawn["prototype_usage"] = png(usage_figure(cluster, truth_n, len(size_K), dataset.meta.get("class_names")))
        if "membership" in clusters.arrays and "images" in dataset.arrays:
            membership_nK = np.asarray(clusters.arrays["membership"])
            drawn["prototypes"] = png(members_figure(dataset.arrays["images"], membership_nK))
    return Metrics({"curves": pd.concat(curves, ignore_index=True)}, meta={"values": values}, figures=drawn)
