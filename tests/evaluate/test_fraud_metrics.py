"""The whole method on a small data set, and its metrics by hand."""

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.cluster.kmeans import kmeans
from tasks.cluster.phdbscan import phdbscan
from tasks.evaluate.fraud_metrics import METRICS, fraud_metrics, purity, scores
from tasks.prepare.clickstream_fraud import clickstream_fraud
from tasks.pretrain.bilstm_time_attention import bilstm_time_attention, unit_block
from tasks.pseudo_label.risky_clusters import risky_clusters
from tasks.self_train.rule_extraction import rule_extraction


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return clickstream_fraud(n=1200, rings=4, benign_scripts=1, group_size=[40, 59], known_bad=0.5)


@pytest.fixture(scope="module")
def hybrid(dataset) -> Representation:
    return bilstm_time_attention(dataset.without_truth(), hidden=8, epochs=1, feature_weight=0.5, seed=0)


def by_script(dataset: Dataset, representation: Representation) -> Representation:
    """A perfect embedding: far apart for each script."""
    group = dataset.arrays["group"][representation.tables["units"]["sample"].to_numpy()]
    noise = np.random.default_rng(0).standard_normal((len(group), 2))
    x = np.where(group[:, None] > 0, noise * 0.1 + 100 * group[:, None], noise * 30)
    return Representation(
        representation.tables, {"embedding": x.astype(np.float32), "attention": representation.arrays["attention"]}
    )


def follow(dataset: Dataset, representation: Representation, **options):
    stripped = dataset.without_truth()
    clusters = phdbscan(representation, min_cluster_size=10, min_samples=5, max_cluster_size=100)
    risky = risky_clusters(stripped, clusters, min_share=0.2)
    model = rule_extraction(stripped, clusters, risky, **options)
    model.check()
    return clusters, risky, model


def test_a_perfect_embedding_finds_all_but_isolated_fraud(dataset, hybrid):
    representation = by_script(dataset, hybrid)
    metrics = fraud_metrics(dataset, representation, *follow(dataset, representation))
    metrics.check()
    assert set(metrics.values) == set(METRICS)
    assert metrics.values["dollar_precision"] > 0.95
    assert metrics.values["dollar_recall"] > 0.8
    assert metrics.values["exact_agreement"] > 0.95
    assert set(metrics.figures) == {"condensed_tree", "risky_cluster"}
    assert all(png.startswith(b"\x89PNG") for png in metrics.figures.values())


def test_known_cases_count_nowhere(dataset, hybrid):
    representation = by_script(dataset, hybrid)
    stages = follow(dataset, representation)
    before = fraud_metrics(dataset, representation, *stages, figures=False).values
    amount = np.array(dataset.arrays["amount"])
    amount[dataset.samples["given_label"].notna()] *= 1000
    richer = Dataset(dataset.tables, {**dataset.arrays, "amount": amount}, meta=dataset.meta)
    assert fraud_metrics(richer, representation, *stages, figures=False).values == before


def test_known_cases_and_later_days_reach_neither_representation_nor_clusters(dataset, hybrid):
    stripped = dataset.without_truth()
    changed = Dataset(
        {"samples": stripped.samples.assign(given_label=pd.array([None] * 1200, dtype="Int64"))},
        {name: np.array(array) for name, array in stripped.arrays.items()},
        meta=stripped.meta,
    )
    later = stripped.rows("test")
    changed.arrays["features"][later] = 1
    changed.arrays["events"][later] = np.where(changed.arrays["events"][later] > 0, 1, 0)
    again = bilstm_time_attention(changed, hidden=8, epochs=1, feature_weight=0.5, seed=0)
    assert np.array_equal(again.arrays["embedding"], hybrid.arrays["embedding"])
    assert np.isin(hybrid.tables["units"]["sample"], stripped.rows("train")).all()


def test_rules_do_not_see_the_labels_and_are_applied_to_later_days_only(dataset, hybrid):
    representation = by_script(dataset, hybrid)
    clusters, risky, model = follow(dataset, representation, min_precision=0.5)
    assert np.array_equal(model.tables["predictions"]["sample"], dataset.rows("test"))
    assert model.meta["rules"]
    assert all(rule["precision"] >= 0.5 for rule in model.meta["rules"])
    nothing_known = dataset.without_truth()
    nothing_known.tables["samples"] = nothing_known.samples.drop(columns="given_label")
    assert rule_extraction(nothing_known, clusters, risky, min_precision=0.5).meta == model.meta
    none = rule_extraction(dataset.without_truth(), clusters, risky, min_precision=1.0, max_depth=1)
    assert none.meta["rules"] == []
    assert len(none.meta["dropped"]) == risky.meta["n_risky"]
    assert (none.tables["predictions"]["prediction"] == 0).all()
    bad = dataset.without_truth()
    bad.arrays["features"] = np.full_like(bad.arrays["features"], np.nan)
    with pytest.raises(ValueError, match="features are not finite"):
        rule_extraction(bad, clusters, risky)


def test_no_risky_cluster_gives_zeros(dataset, hybrid):
    stripped = dataset.without_truth()
    clusters = kmeans(stripped, hybrid, k=3, seed=0)
    risky = risky_clusters(stripped, clusters, min_share=1.0)
    metrics = fraud_metrics(dataset, hybrid, clusters, risky, rule_extraction(stripped, clusters, risky))
    metrics.check()
    assert [metrics.values[m] for m in ("dollar_precision", "dollar_recall", "dollar_f1", "rule_precision")] == [
        0.0
    ] * 4
    assert "exact_agreement" not in metrics.values
    assert metrics.figures == {}


def test_scores_by_hand():
    true, flagged = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert scores(true, flagged, np.array([3.0, 1.0, 1.0, 9.0])) == (0.75, 0.75, 0.75)
    assert scores(true, ~true, np.ones(4)) == (0.0, 0.0, 0.0)
    assert scores(true, np.zeros(4, bool), np.ones(4)) == (0.0, 0.0, 0.0)


def test_purity_by_hand():
    assert purity(np.array([0, 0, 0, 1, 1, -1]), np.array([2, 2, 0, 1, 0, 5])) == pytest.approx(3 / 5)
    assert purity(np.array([-1, -1]), np.array([0, 1])) == 0.0


def test_both_blocks_have_a_squared_norm_of_one():
    x = np.random.default_rng(0).standard_normal((2000, 7)) * [1, 10, 100, 1, 1, 1, 1] + 5
    assert (unit_block(x) ** 2).sum(axis=1).mean() == pytest.approx(1, abs=1e-3)
    assert (unit_block(np.full((10, 3), 0.1)) == 0).all()
    spike = np.zeros((1000, 1))
    spike[0] = 1e6
    assert unit_block(spike).max() == 5


def test_parts_weights_and_seeds(dataset, hybrid):
    stripped = dataset.without_truth()
    hybrid.check()
    x = hybrid.arrays["embedding"]
    assert x.shape == (len(stripped.rows("train")), 16 + 10)
    features = bilstm_time_attention(stripped, parts=["features"], seed=5)
    features.check()
    assert np.allclose(features.arrays["embedding"] * 0.5, x[:, 16:], atol=1e-7)
    assert "attention" not in features.arrays
    short = {"parts": ["sequence"], "hidden": 8, "epochs": 1}
    same, other = (bilstm_time_attention(stripped, **short, seed=s).arrays["embedding"] for s in (0, 1))
    assert np.array_equal(same, x[:, :16])
    assert not np.array_equal(same, other)
    attention = hybrid.arrays["attention"]
    real = stripped.arrays["events"][stripped.rows("train")] > 0
    assert np.allclose(attention.sum(axis=1), 1, atol=1e-5)
    assert (attention[~real] == 0).all()


def test_bad_features(dataset):
    bad = dataset.without_truth()
    row = bad.rows("train")[3]
    bad.arrays["features"] = np.array(bad.arrays["features"])
    bad.arrays["features"][row, 1] = np.nan
    with pytest.raises(ValueError, match=f"features of sample {row} are not finite"):
        bilstm_time_attention(bad, parts=["features"], seed=0)
    bad.arrays["features"][row, 1] = 0.5
    bad.arrays["features"][row, 0] = -2
    with pytest.raises(ValueError, match=r"'account age \(days\)' is negative"):
        bilstm_time_attention(bad, parts=["features"], seed=0)
