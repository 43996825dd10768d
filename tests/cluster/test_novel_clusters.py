"""The three ways to cluster novel rows, and what is made of their clusters up to the metrics."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from tasks.artifacts import Clusters
from tasks.cluster.ncd_kmeans import ncd_kmeans
from tasks.cluster.ncd_spectral import ncd_spectral
from tasks.cluster.novel_kmeans import novel_kmeans
from tasks.clustering.cluster_number import ClusterNumber
from tasks.discovery.hidden_classes import Tuning
from tasks.evaluate.novel_class_discovery import METRICS, novel_class_discovery
from tasks.pretrain.array_as_representation import array_as_representation
from tasks.pseudo_label.known_and_novel_labels import known_and_novel_labels
from tasks.readers.novel_classes import discovery_dataset
from tasks.self_train.nearest_class_mean import nearest_class_mean

KNOWN = [1, 3, 5, 6]
NOVEL = [0, 2, 4]
ESTIMATE = ClusterNumber(most=6, runs=1, n_init=3)
STEPS = {
    "kmeans": lambda d, r, **o: novel_kmeans(d, r, **{"k": 3, "seed": 0, **o}),
    "ncd_kmeans": lambda d, r, **o: ncd_kmeans(d, r, **{"k": 3, "seed": 0, **o}),
    "spectral": lambda d, r, **o: ncd_spectral(d, r, **{"k": 3, "min_dist": 0.5, "n_components": 6, "seed": 0, **o}),
    "ncd_spectral": lambda d, r, **o: ncd_spectral(
        d, r, **{"k": 3, "min_dist": 0.5, "n_components": 6, "assign": "ncd_kmeans", "seed": 0, **o}
    ),
}


def blobs(spread=0.4, n=210):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 7
    x = 5 * np.eye(7)[y] + spread * rng.normal(size=(n, 7))
    names, columns = [f"c{i}" for i in range(7)], [f"x{i}" for i in range(7)]
    return discovery_dataset(x, y, class_names=names, known=KNOWN, column_names=columns, standardise=False)


@pytest.fixture(scope="module")
def data():
    full = blobs()
    return full, full.without_truth(), array_as_representation(full)


def finish(full, stripped, representation, clusters, figures=False):
    pseudo = known_and_novel_labels(stripped, clusters)
    model = nearest_class_mean(stripped, representation, pseudo)
    metrics = novel_class_discovery(full, representation, clusters, model, figures=figures)
    for artifact in (clusters, pseudo, model, metrics):
        artifact.check()
    return pseudo, model, metrics


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_clear_classes_are_found_among_the_novel_rows_only(data, name, split):
    full, stripped, representation = data
    clusters = STEPS[name](stripped, representation, fit_on=split)
    cluster = clusters.tables["units"]["cluster"].to_numpy()
    label = full.samples["label"].to_numpy(dtype=int)
    expected = np.isin(label, NOVEL) & (full.samples["split"] == split).to_numpy()
    assert ((cluster >= 0) == expected).all()
    assert adjusted_rand_score(label[expected], cluster[expected]) == 1
    assert clusters.meta["n_clusters"] == 3
    values = finish(*data, clusters)[2].values
    assert {n: values[n] for n in ("acc_novel", "nmi_novel", "ari_novel", "acc_known", "acc_all")} == pytest.approx(
        dict.fromkeys(("acc_novel", "nmi_novel", "ari_novel", "acc_known", "acc_all"), 1.0)
    )


@pytest.mark.parametrize("name", STEPS)
def test_seed(name):
    full = blobs(spread=3.0)
    stripped, representation = full.without_truth(), array_as_representation(full)
    runs = [
        STEPS[name](stripped, representation, seed=s, n_init=1, k=8).tables["units"]["cluster"].tolist()
        for s in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("name", STEPS)
def test_degenerate_input(data, name):
    _, stripped, representation = data
    with pytest.raises(ValueError, match="more than the 63 novel rows"):
        STEPS[name](stripped, representation, k=64)
    same = blobs()
    same.arrays["features"][np.isin(same.samples["label"], NOVEL)] = 2
    with pytest.raises(ValueError, match="identical"):
        STEPS[name](same.without_truth(), array_as_representation(same))
    ungranted = blobs().without_truth()
    ungranted.tables["samples"] = ungranted.samples.assign(given_label=pd.array([None] * 210, dtype="Int64"))
    with pytest.raises(ValueError, match="no known class"):
        STEPS[name](ungranted, representation)


def test_k_is_estimated(data):
    clusters = novel_kmeans(data[1], data[2], k="auto", estimate_k=ESTIMATE, seed=0)
    assert clusters.meta["k_estimated"] == clusters.meta["n_clusters"] == 3
    curve = clusters.tables["curves"]
    assert curve["x"].tolist() == [2, 3, 4, 5, 6]
    assert curve["y"].idxmax() == 1
    values = finish(*data, clusters)[2].values
    assert (values["k_estimated"], values["k_error"]) == (3, 0)
    with pytest.raises(ValueError, match="needs estimate_k"):
        novel_kmeans(data[1], data[2], k="auto", seed=0)


def test_an_estimate_beside_a_given_k_changes_no_cluster(data):
    given = novel_kmeans(data[1], data[2], k=4, seed=0)
    both = novel_kmeans(data[1], data[2], k=4, estimate_k=ESTIMATE, seed=0)
    assert given.tables["units"].equals(both.tables["units"])
    assert (both.meta["k_estimated"], both.meta["n_clusters"]) == (3, 4)
    assert "k_error" not in finish(*data, given)[2].values


def test_surplus_clusters_count_as_errors(data):
    full, stripped, representation = data
    clusters = novel_kmeans(stripped, representation, k=5, seed=0)
    _, model, metrics = finish(full, stripped, representation, clusters)
    rows = full.rows("test")
    rows = rows[np.isin(full.samples["label"].iloc[rows], NOVEL)]
    sizes = np.sort(np.bincount(model.arrays["novel_prediction"][rows], minlength=5))
    assert metrics.values["acc_novel"] <= 1 - sizes[:2].sum() / len(rows) + 1e-12


def test_known_centroids_are_the_class_means(data):
    full, stripped, representation = data
    clusters = ncd_kmeans(stripped, representation, k=3, seed=0)
    x, samples = full.arrays["features"].astype(float), full.samples
    for position, label in enumerate(KNOWN):
        rows = ((samples["label"] == label) & (samples["split"] == "train")).to_numpy()
        np.testing.assert_allclose(clusters.arrays["known_centroids"][position], x[rows].mean(axis=0), atol=1e-6)


def test_spectral_parameters_are_tuned_on_known_rows_alone(data):
    _, stripped, representation = data
    tuned = ncd_spectral(
        stripped, representation, k=3, min_dist=0.5, n_components=2, tune=Tuning(folds=2, trials=3), seed=0
    )
    moved = array_as_representation(stripped)
    moved.arrays["embedding"] = np.array(moved.arrays["embedding"])
    moved.arrays["embedding"][stripped.samples["given_label"].isna().to_numpy()] *= 2
    again = ncd_spectral(stripped, moved, k=3, min_dist=0.5, n_components=2, tune=Tuning(folds=2, trials=3), seed=0)
    assert tuned.meta["tuned"] == again.meta["tuned"]
    assert 0 < tuned.meta["tuned"]["min_dist"] < 1
    assert len(tuned.tables["curves"]) == 3


def test_pseudo_labels(data):
    full, stripped, representation = data
    clusters = novel_kmeans(stripped, representation, k=3, seed=0)
    pseudo = finish(full, stripped, representation, clusters)[0]
    table, samples = pseudo.tables["units"], full.samples
    known = samples["given_label"].notna()
    assert (table["pseudo_label"][known] == np.searchsorted(KNOWN, samples["label"][known].astype(int))).all()
    novel = clusters.tables["units"]["cluster"] >= 0
    assert (table["pseudo_label"][novel] == 4 + clusters.tables["units"]["cluster"][novel]).all()
    assert (table["pseudo_label"][~known & ~novel] == -1).all()
    wrong = Clusters({"units": clusters.tables["units"].assign(cluster=0)}, meta={"n_clusters": 1})
    with pytest.raises(ValueError, match="known train rows have a cluster"):
        known_and_novel_labels(stripped, wrong)


def test_nearest_mean_of_k_means_clusters_is_its_centroid(data):
    full, stripped, representation = data
    clusters = novel_kmeans(stripped, representation, k=3, seed=0)
    pseudo, model, _ = finish(full, stripped, representation, clusters)
    np.testing.assert_allclose(model.arrays["class_means"][4:], clusters.arrays["centroids"], atol=1e-5)
    x, means = full.arrays["features"], model.arrays["class_means"]
    distance = np.linalg.norm(x[:, None] - means[None], axis=2)
    assert (model.arrays["prediction"] == distance.argmin(axis=1)).all()
    assert (model.arrays["novel_prediction"] == distance[:, 4:].argmin(axis=1)).all()
    pseudo.tables["units"]["pseudo_label"] = pseudo.tables["units"]["pseudo_label"].clip(upper=3)
    with pytest.raises(ValueError, match="no row belongs to a novel class"):
        nearest_class_mean(stripped, representation, pseudo)


def test_metrics_by_hand(data):
    full, stripped, representation = data
    clusters = novel_kmeans(stripped, representation, k=3, seed=0)
    _, model, _ = finish(full, stripped, representation, clusters)
    rows = full.rows("test")
    label = full.samples["label"].to_numpy(dtype=int)
    novel, known = rows[np.isin(label[rows], NOVEL)], rows[np.isin(label[rows], KNOWN)]
    model.arrays["novel_prediction"][novel[0]] = (model.arrays["novel_prediction"][novel[0]] + 1) % 3
    model.arrays["prediction"][known[:2]] = 4  # called novel
    model.arrays["prediction"][novel[:3]] = 0  # called known
    values = novel_class_discovery(full, representation, clusters, model, figures=False).values
    assert values["acc_novel"] == pytest.approx(1 - 1 / len(novel))
    assert values["acc_known"] == pytest.approx(1 - 2 / len(known))
    assert values["acc_all"] == pytest.approx(1 - 5 / len(rows))
    assert set(values) <= set(METRICS)


def test_figures(data):
    clusters = novel_kmeans(data[1], data[2], k=3, estimate_k=ESTIMATE, seed=0)
    metrics = finish(*data, clusters, figures=True)[2]
    assert set(metrics.figures) == {"latent_space", "silhouette"}
    assert all(png.startswith(b"\x89PNG") for png in metrics.figures.values())
    assert finish(*data, clusters)[2].figures == {}


def test_no_novel_test_rows(data):
    full, stripped, representation = data
    clusters = novel_kmeans(stripped, representation, k=3, seed=0)
    _, model, _ = finish(full, stripped, representation, clusters)
    few = blobs()
    novel = np.isin(few.samples["label"], NOVEL)
    few.tables["samples"] = few.samples.assign(split=few.samples["split"].where(~novel, "train"))
    with pytest.raises(ValueError, match="no test row is of a novel class"):
        novel_class_discovery(few, representation, clusters, model, figures=False)
