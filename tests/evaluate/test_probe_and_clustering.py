import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Clusters, Dataset, Model, Representation
from tasks.evaluate.probe_and_clustering import METRICS, probe_and_clustering


def make(seed: int = 0):
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1, 2], 40)
    truth = pd.Series(label, dtype="Int64")
    samples = pd.DataFrame(
        {
            "sample": np.arange(120),
            "split": pd.Series(["train"] * 84 + ["test"] * 36, dtype="str"),
            "label": truth,
            "given_label": truth.where(np.arange(120) < 9),
        }
    )
    dataset = Dataset({"samples": samples}, {"images": rng.random((120, 4, 4, 1), dtype=np.float32)})
    x = (np.eye(3)[label] + 0.5 * rng.normal(size=(120, 3))).astype(np.float32)
    units = pd.DataFrame({"unit": np.arange(120), "sample": np.arange(120)})
    snapshots = np.stack([0 * x + rng.normal(size=x.shape).astype(np.float32), x])
    representation = Representation(
        {"units": units}, {"embedding": x, "embedding_by_epoch": snapshots, "snapshot_epochs": np.array([0, 7])}
    )
    membership = rng.dirichlet(np.ones(5), size=120).astype(np.float32)
    clusters = Clusters(
        {"units": units.assign(cluster=membership.argmax(axis=1))}, {"membership": membership}, meta={"n_clusters": 5}
    )
    predicted = np.where(rng.random(120) < 0.7, label, (label + 1) % 3)
    model = Model({"predictions": pd.DataFrame({"sample": np.arange(120), "prediction": predicted})}, {"embedding": x})
    return dataset, representation, clusters, model


def test_against_scikit_learn():
    dataset, representation, clusters, model = make()
    metrics = probe_and_clustering(dataset, representation, clusters, model, seed=0)
    metrics.check()
    label, cluster = dataset.labels("label", np.arange(120)), clusters.tables["units"]["cluster"].to_numpy()
    x = StandardScaler().fit(model.arrays["embedding"][:84]).transform(model.arrays["embedding"].astype(float))
    probe = LogisticRegression(max_iter=5000).fit(x[:84], label[:84])
    right = model.tables["predictions"]["prediction"].to_numpy() == label
    assert set(metrics.values) == set(METRICS)
    assert metrics.values["accuracy"] == pytest.approx(probe.score(x[84:], label[84:]))
    assert metrics.values["few_label_accuracy"] == pytest.approx(right[84:].mean())
    assert metrics.values["nmi"] == pytest.approx(normalized_mutual_info_score(label, cluster))
    assert metrics.values["ari"] == pytest.approx(adjusted_rand_score(label, cluster))
    assert metrics.values["prototype_entropy"] == pytest.approx(entropy(np.bincount(cluster), base=5))


def test_curves():
    metrics = probe_and_clustering(*make(), figures=False, seed=0)
    curves = metrics.tables["curves"].groupby("curve")
    probe = curves.get_group("probe_accuracy_by_epoch")
    assert probe["x"].tolist() == [0, 7]
    assert probe["y"].iloc[1] == metrics.values["accuracy"] > probe["y"].iloc[0] + 0.2
    share = curves.get_group("share_of_samples_by_prototype_rank")["y"].to_numpy()
    assert len(share) == 5
    assert share.sum() == pytest.approx(1)
    assert (np.diff(share) <= 0).all()
    assert metrics.figures == {}


def test_figures_are_drawn_the_same_twice():
    first, again = (probe_and_clustering(*make(), seed=0).figures for _ in range(2))
    assert set(first) == {"prototype_usage", "prototypes"}
    assert first == again
    for png in first.values():
        assert min(Image.open(io.BytesIO(png)).size) > 200


def test_hard_clusters_without_snapshots():
    dataset, representation, clusters, model = make()
    del clusters.arrays["membership"], representation.arrays["snapshot_epochs"]
    metrics = probe_and_clustering(dataset, representation, clusters, model, seed=0)
    assert set(metrics.figures) == {"prototype_usage"}
    assert set(metrics.tables["curves"]["curve"]) == {"share_of_samples_by_prototype_rank"}


def test_a_collapsed_clustering_has_no_entropy():
    dataset, representation, clusters, model = make()
    clusters.tables["units"]["cluster"] = 3
    del clusters.arrays["membership"]
    values = probe_and_clustering(dataset, representation, clusters, model, figures=False, seed=0).values
    assert (values["prototype_entropy"], values["nmi"], values["ari"]) == (0.0, 0.0, 0.0)


def test_bad_input():
    dataset, representation, clusters, model = make()
    clusters.tables["units"].loc[3, "cluster"] = -1
    with pytest.raises(ValueError, match="every sample must have a cluster"):
        probe_and_clustering(dataset, representation, clusters, model, seed=0)
