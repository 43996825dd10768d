import io
import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Model, Representation, network_of
from tasks.evaluate.clustering_accuracy import METRICS, clustering_accuracy
from tasks.nn.layerwise_autoencoder import AutoencoderSettings, build_autoencoder


def make(seed: int = 0, n: int = 60, k: int = 4):
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=n)
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            "split": pd.Series(["train"] * n, dtype="str"),
            "label": pd.Series(label, dtype="Int64"),
        }
    )
    dataset = Dataset({"samples": samples}, {"images": rng.random((n, 8, 8, 1), dtype=np.float32)})
    units = pd.DataFrame({"unit": np.arange(n), "sample": np.arange(n)})
    cluster = np.where(rng.random(n) < 0.7, (label + 1) % 3, rng.integers(k, size=n))
    embedding = rng.normal(size=(n, 5)).astype(np.float32)
    representation = Representation({"units": units}, {"embedding": embedding})
    clusters = Clusters({"units": units.assign(cluster=cluster)}, meta={"n_clusters": k})
    probability = rng.dirichlet(np.ones(k), size=n)
    probability[:, 2] *= 1e-6  # a cluster that no sample chooses
    probability = (probability / probability.sum(axis=1, keepdims=True)).astype(np.float32)
    settings = AutoencoderSettings(maps=[3], kernels=[3], strides=[2], padding=[1], code=5, dropout=[0.0, 0.0])
    network = build_autoencoder(settings, (8, 8, 1), 0)
    predicted = probability.argmax(axis=1)
    model = Model(
        {"predictions": pd.DataFrame({"sample": np.arange(n), "prediction": predicted})},
        {"probability": probability, "embedding": embedding, "labels_by_epoch": np.stack([cluster, predicted])},
        {"autoencoder": network_of(network, network.config())},
        meta={"stop_epoch": 1, "reconstruction_before": 0.2, "reconstruction_after": 0.3},
    )
    return dataset, representation, clusters, model


def best_map(predicted: np.ndarray, label: np.ndarray, k: int) -> float:
    """Every way to give three of the clusters a class."""
    return max(
        np.mean([c in chosen and chosen.index(c) == y for c, y in zip(predicted, label, strict=True)])
        for chosen in itertools.permutations(range(k), 3)
    )


def test_against_every_map_and_scikit_learn():
    dataset, representation, clusters, model = make()
    metrics = clustering_accuracy(dataset, representation, clusters, model)
    metrics.check()
    label, predicted = dataset.labels("label", np.arange(60)), model.tables["predictions"]["prediction"].to_numpy()
    assert set(metrics.values) == set(METRICS)
    assert metrics.values["accuracy"] == pytest.approx(best_map(predicted, label, 4))
    assert metrics.values["nmi"] == pytest.approx(normalized_mutual_info_score(label, predicted))
    assert metrics.values["ari"] == pytest.approx(adjusted_rand_score(label, predicted))
    assert metrics.values["cluster_entropy"] == pytest.approx(entropy(np.bincount(predicted), base=4))
    assert metrics.values["confidence"] == pytest.approx(model.arrays["probability"].max(axis=1).mean())
    assert metrics.values["stop_epoch"] == 1.0
    assert metrics.values["reconstruction_ratio"] == pytest.approx(1.5)


def test_curves_follow_the_labels_of_each_epoch():
    dataset, representation, clusters, model = make()
    metrics = clustering_accuracy(dataset, representation, clusters, model, figures=False)
    curves = metrics.tables["curves"].groupby("curve")
    cluster = clusters.tables["units"]["cluster"].to_numpy()
    label = dataset.labels("label", np.arange(60))
    accuracy, nmi = (curves.get_group(f"{name}_by_epoch") for name in ("accuracy", "nmi"))
    assert accuracy["x"].tolist() == [0, 1]
    assert accuracy["y"].tolist() == pytest.approx([best_map(cluster, label, 4), metrics.values["accuracy"]])
    assert nmi["y"].iloc[0] == pytest.approx(normalized_mutual_info_score(label, cluster))
    assert metrics.figures == {}


def test_figures():
    first, again = (clustering_accuracy(*make()).figures for _ in range(2))
    assert set(first) == {"codes", "confidence"}
    assert first == again
    for png in first.values():
        assert min(Image.open(io.BytesIO(png)).size) > 200


def test_hard_clusters_have_what_they_support():
    dataset, representation, clusters, model = make()
    hard = Model({"predictions": model.tables["predictions"]}, {"embedding": model.arrays["embedding"]})
    metrics = clustering_accuracy(dataset, representation, clusters, hard)
    assert set(metrics.values) == {"accuracy", "nmi", "ari", "cluster_entropy"}
    assert set(metrics.figures) == {"codes"}


def test_bad_input():
    dataset, representation, clusters, model = make()
    model.tables["predictions"] = model.tables["predictions"].iloc[:3]
    with pytest.raises(ValueError, match="3 predictions for 60 samples"):
        clustering_accuracy(dataset, representation, clusters, model)
