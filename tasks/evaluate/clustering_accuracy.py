"""Agreement of predicted clusters with classes.

Shape legend: n samples, E epochs, K clusters, d code.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, Representation
from tasks.clustering.deep_clustering_figures import codes_figure, confidence_figure
from tasks.curves import curve_table
from tasks.figures import png
from tasks.metrics import clustering
from tasks.metrics.cluster_sizes import normalised_entropy

METRICS = {
    "accuracy": "share of samples in the class of their cluster, best one-to-one map (0..1, higher is better)",
    "nmi": "normalised mutual information of clusters and classes (0..1, higher is better)",
    "ari": "adjusted Rand index of clusters and classes (at most 1, higher is better)",
    "cluster_entropy": "entropy of the cluster sizes over log K (1: all equal, 0: one cluster has all)",
    "confidence": "mean over samples of the largest cluster probability (0..1)",
    "stop_epoch": "epochs with targets until training ended",
    "reconstruction_ratio": "reconstruction loss after self-training over that before (lower is better)",
}


def clustering_accuracy(
    dataset: Dataset, representation: Representation, clusters: Clusters, model: Model, *, figures: bool = True
) -> Metrics:
    """ACC under the best one-to-one map of clusters to classes (Hungarian method), NMI and ARI of the model's `predictions`.

    Metrics that a model cannot support (no probabilities, no training) are left out.

    Curves, if the model has `labels_by_epoch` int [E, n]: `accuracy_by_epoch`, `nmi_by_epoch`. Figures: `codes` (first two
    principal components before and after training, by cluster), `confidence` (most and least confident images of each
    cluster over their reconstructions, if the model has probabilities and an autoencoder).

    Raises ValueError: predictions that are not one per sample, a sample without truth.
    """
    every = np.arange(len(dataset.samples))
    predictions = model.tables["predictions"]
    if not np.array_equal(predictions["sample"].to_numpy(), every):
        raise ValueError(f"model: {len(predictions)} predictions for {len(every)} samples, not one each")
    truth_n, label_n = dataset.labels("label", every), predictions["prediction"].to_numpy()
    k = int(clusters.meta["n_clusters"])
    values = {
        "accuracy": clustering.clustering_accuracy(label_n, truth_n),
        "nmi": float(normalized_mutual_info_score(truth_n, label_n)),
        "ari": float(adjusted_rand_score(truth_n, label_n)),
        "cluster_entropy": normalised_entropy(np.bincount(label_n, minlength=k)),
    }
    if "probability" in model.arrays:
        values["confidence"] = float(np.asarray(model.arrays["probability"]).max(axis=1).mean())
    if "stop_epoch" in model.meta:
        values["stop_epoch"] = float(model.meta["stop_epoch"])
        values["reconstruction_ratio"] = model.meta["reconstruction_after"] / model.meta["reconstruction_before"]
    tables = {}
    if "labels_by_epoch" in model.arrays:
        labels_En = np.asarray(model.arrays["labels_by_epoch"])
        epochs = range(len(labels_En))
        accuracy = [clustering.clustering_accuracy(label, truth_n) for label in labels_En]
        nmi = [normalized_mutual_info_score(truth_n, label) for label in labels_En]
        curves = [curve_table("accuracy_by_epoch", epochs, accuracy), curve_table("nmi_by_epoch", epochs, nmi)]
        tables["curves"] = pd.concat(curves, ignore_index=True)
    drawn = {}
    if figures:
        before = np.array(representation.arrays["embedding"]), clusters.tables["units"]["cluster"].to_numpy()
        drawn["codes"] = png(codes_figure(before, (np.array(model.arrays["embedding"]), label_n)))
        if "probability" in model.arrays and "autoencoder" in model.networks:
            network = model.networks["autoencoder"]
            drawn["confidence"] = png(confidence_figure(dataset.arrays["images"], model.arrays["probability"], network))
    return Metrics(tables=tables, meta={"values": values}, figures=drawn)
