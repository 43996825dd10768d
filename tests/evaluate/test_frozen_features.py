"""From features to labels, heads, clusters and metrics."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Representation
from tasks.cluster.pca_kmeans import pca_kmeans
from tasks.evaluate.frozen_features import frozen_features
from tasks.metrics.probe import probe_accuracy
from tasks.pseudo_label.labelled_subset import labelled_subset
from tasks.self_train.attention_head import attention_head
from tasks.self_train.logistic_regression import logistic_regression

K, SIDE = 3, 2


def make(separation=2.0, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(K, size=210)
    split = np.repeat(["train", "val", "test"], [120, 30, 60])
    x = separation * rng.normal(size=(K, 8))[label] + rng.normal(size=(210, 8))
    x[:, 0] *= 1000  # a feature of another scale
    samples = pd.DataFrame({"sample": np.arange(210), "split": pd.Series(split, dtype="str")})
    samples["label"] = pd.Series(label, dtype="Int64")
    samples["given_label"] = samples["label"].where(samples["split"] == "train")
    rows = np.r_[0:120, 150:210]
    units = pd.DataFrame({"unit": np.arange(180), "sample": rows})
    swept = np.r_[0:60, 120:150]
    noise = rng.normal(size=(90, 8))
    arrays = {"embedding": x[rows].astype(np.float32), "sweep_samples": swept}
    arrays["sweep_0"] = np.hstack([noise, noise, x[swept] / [1000, *[1] * 7]]).astype(np.float16)
    arrays["sweep_50"] = np.hstack([noise, x[swept] / [1000, *[1] * 7] / 5 + noise, noise]).astype(np.float16)
    meta = {"block": 2, "t": 50, "pool": SIDE, "block_widths": [8, 8, 8], "sweep_t": [0, 50]}
    dataset = Dataset({"samples": samples}, meta={"class_names": ["a", "b", "c"]})
    return dataset, Representation({"units": units}, arrays, meta=meta)


@pytest.fixture(scope="module")
def data():
    return make()


def test_subset_has_as_many_of_each_class_and_is_nested(data):
    dataset, representation = data
    found = labelled_subset(dataset.without_truth(), representation, per_class=8, seed=0)
    found.check()
    label = found.tables["units"]["pseudo_label"].to_numpy()
    assert np.bincount(label[label >= 0]).tolist() == [8] * K
    chosen = np.flatnonzero(label >= 0)
    assert (chosen < 120).all()
    assert np.array_equal(label[chosen], dataset.samples["label"].to_numpy(dtype=int)[chosen])
    few = labelled_subset(dataset.without_truth(), representation, per_class=3, seed=0).arrays["rank"]
    rank = found.arrays["rank"]
    assert np.array_equal(np.flatnonzero(few >= 0), np.flatnonzero((rank >= 0) & (rank < 3)))
    other = labelled_subset(dataset.without_truth(), representation, per_class=8, seed=1).arrays["rank"]
    assert not np.array_equal(rank, other)
    whole = labelled_subset(dataset.without_truth(), representation, seed=0)
    assert (whole.tables["units"]["pseudo_label"] >= 0).sum() == 120


def test_bad_labels_are_named(data):
    dataset, representation = data
    hidden = dataset.without_truth()
    none = Dataset({"samples": hidden.samples.drop(columns="given_label")})
    with pytest.raises(ValueError, match="no label is granted"):
        labelled_subset(none, representation, seed=0)
    with pytest.raises(ValueError, match=r"per_class: class \d has \d+ labelled units in train, 100"):
        labelled_subset(hidden, representation, per_class=100, seed=0)
    absent = hidden.samples.assign(given_label=hidden.samples["given_label"].where(hidden.samples["given_label"] != 1))
    with pytest.raises(ValueError, match="class 1 has 0 labelled"):
        labelled_subset(Dataset({"samples": absent}, meta=hidden.meta), representation, seed=0)


def test_clusters_are_of_standardised_features(data):
    dataset, representation = data
    found = pca_kmeans(dataset, representation, k=K, dim=8, seed=0)
    found.check()
    truth = dataset.labels("label", representation.tables["units"]["sample"].to_numpy())
    cluster = found.tables["units"]["cluster"].to_numpy()
    raw = pca_kmeans(dataset, representation, k=K, dim=8, standardise=False, seed=0)
    nmi = [normalized_mutual_info_score(truth, c) for c in (cluster, raw.tables["units"]["cluster"])]
    assert nmi[0] > 0.9 > nmi[1]
    x = StandardScaler().fit_transform(representation.arrays["embedding"][:120])
    assert found.meta["silhouette"] == pytest.approx(silhouette_score(x, cluster[:120]), abs=1e-3)


def test_probe_standardises_by_the_train_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 5)) * [1, 1, 1, 1, 500], rng.integers(2, size=80)
    x[:, 0] += 2 * y
    scaler = StandardScaler().fit(x[:50])
    expected = LogisticRegression(C=0.1, max_iter=5000).fit(scaler.transform(x[:50]), y[:50])
    assert probe_accuracy(x[:50], y[:50], x[50:], y[50:], 0.1) == expected.score(scaler.transform(x[50:]), y[50:])
    # The scale of a feature does not matter.
    assert probe_accuracy(x[:50] * 7 + 3, y[:50], x[50:] * 7 + 3, y[50:], 0.1) == probe_accuracy(
        x[:50], y[:50], x[50:], y[50:], 0.1
    )
    with pytest.raises(ValueError, match="one class"):
        probe_accuracy(x[:5], np.zeros(5), x[50:], y[50:], 0.1)


def test_metrics_beside_counting(data):
    dataset, representation = data
    pseudo = labelled_subset(dataset.without_truth(), representation, per_class=10, seed=0)
    model = logistic_regression(dataset.without_truth(), representation, pseudo, regularization=0.1)
    clusters = pca_kmeans(dataset, representation, k=K, seed=0)
    found = frozen_features(dataset, representation, clusters, pseudo, model)
    found.check()
    truth = dataset.samples["label"].to_numpy(dtype=int)[150:]
    predicted = model.tables["predictions"]["prediction"].to_numpy()[120:]
    assert found.values["accuracy"] == (predicted == truth).mean() > 0.9
    recall = [(predicted[truth == k] == k).mean() for k in range(K)]
    assert found.values["mean_class_accuracy"] == pytest.approx(np.mean(recall))
    assert found.values["clustering_nmi"] == pytest.approx(
        normalized_mutual_info_score(truth, clusters.tables["units"]["cluster"][120:])
    )
    assert found.values["silhouette"] == clusters.meta["silhouette"]
    assert (found.values["best_block"], found.values["best_t"]) == (3.0, 0.0)  # the only block that is not noisy
    curve = found.tables["curves"].query("curve == 'accuracy_by_labels_per_class'")
    assert curve["x"].tolist() == [2, 5, 10]
    assert curve["y"].iloc[-1] == pytest.approx(found.values["accuracy"], abs=0.03)
    assert set(found.figures) == {"blocks_and_steps", "projection"}


def test_sweep_is_judged_on_val_and_never_on_test(data):
    dataset, representation = data
    pseudo = labelled_subset(dataset.without_truth(), representation, per_class=10, seed=0)
    model = logistic_regression(dataset.without_truth(), representation, pseudo)
    clusters = pca_kmeans(dataset, representation, k=K, seed=0)
    shuffled = dataset.samples.copy()
    shuffled.loc[150:, "label"] = np.random.default_rng(0).permutation(shuffled["label"][150:])
    other = Dataset({"samples": shuffled}, meta=dataset.meta)
    one, two = (
        frozen_features(d, representation, clusters, pseudo, model, figures=False).values for d in (dataset, other)
    )
    assert one["accuracy"] != two["accuracy"]
    assert (one["best_block"], one["best_t"]) == (two["best_block"], two["best_t"])


def test_attention_head_learns_and_is_repeatable(data):
    dataset, representation = data
    scaled = Representation(
        representation.tables,
        {"embedding": StandardScaler().fit_transform(representation.arrays["embedding"]).astype(np.float32)},
        meta=representation.meta,
    )
    pseudo = labelled_subset(dataset.without_truth(), scaled, per_class=25, seed=0)
    settings = {"width": 16, "heads": 2, "blocks": 1, "epochs": 40, "batch_size": 16, "decay_every": 30, "lr": 0.05}
    one, two = (attention_head(scaled, pseudo, **settings, seed=0) for _ in range(2))
    one.check()
    assert np.array_equal(one.arrays["similarity"], two.arrays["similarity"])
    truth = dataset.samples["label"].to_numpy(dtype=int)[150:]
    assert (one.tables["predictions"]["prediction"].to_numpy()[120:] == truth).mean() > 0.8
    assert np.allclose(one.arrays["similarity"].sum(axis=1), 1, atol=1e-5)
    state = one.networks["head"].state
    assert state["norm.weight"].shape == (2, SIDE, SIDE)  # over channels and places
    start = attention_head(scaled, pseudo, **{**settings, "epochs": 0}, seed=0)
    assert (start.networks["head"].state["class_token"] == 0).all()
    with pytest.raises(ValueError, match="no pooled maps"):
        attention_head(Representation(scaled.tables, scaled.arrays), pseudo, seed=0)
    with pytest.raises(ValueError, match="heads: 3"):
        attention_head(scaled, pseudo, width=16, heads=3, seed=0)
