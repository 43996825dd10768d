"""Metrics of a ranking and of the model on its top, by hand and against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation
from tasks.cluster.feature_groups import feature_groups
from tasks.curves import curve_table
from tasks.evaluate.feature_ranking_metrics import METRICS, feature_ranking_metrics
from tasks.prepare.sparse_clicks import sparse_clicks
from tasks.pretrain.feature_scores import feature_scores
from tasks.pseudo_label.feature_ranking import feature_ranking
from tasks.self_train.model_search import model_search

Y = np.array([0, 1, 0, 1, 1, 0])
P = np.array([0.2, 0.7, 0.6, 0.8, 0.4, 0.1])


def by_hand(order=(2, 0, 1, 3), informative=(True, False, True, False), members=None, label=Y, probability=P):
    """Four features, six test rows."""
    count = len(order)
    unit = np.arange(count, dtype=np.int64)
    samples = pd.DataFrame(
        {
            "sample": np.arange(6),
            "split": pd.Series(["test"] * 6, dtype="str"),
            "label": pd.Series(label, dtype="Int64"),
        }
    )
    arrays = {} if informative is None else {"informative": np.array(informative)}
    dataset = Dataset({"samples": samples}, arrays, meta={"truth": list(arrays)})
    features = pd.DataFrame(
        {"unit": unit, "name": pd.Series(list("abcd"), dtype="str"), "cardinality": [2] * 4, "coverage": [1.0] * 4, "order": [1] * 4}
    )  # fmt: skip
    representation = Representation(
        {"units": features[["unit"]], "features": features},
        {
            "embedding": np.zeros((4, 5), np.float32),
            "plain": np.zeros(4, np.float32),
            "members": np.array([[0], [1], [2], [3]] if members is None else members),
        },
    )
    clusters = Clusters({"units": features[["unit"]].assign(cluster=unit)}, meta={"n_clusters": 4})
    curves = pd.concat(
        [
            curve_table("holdout_log_loss_by_features", [1, 2], [0.6, 0.5]),
            curve_table("fitting_cost_by_features", [1, 2], [1.0, 2.0]),
        ]
    )
    model = Model(
        {"curves": curves},
        {
            "rows": np.arange(6), "probability": np.array(probability), "lengths": np.array([1, 2]),
            "prefix_probability": np.stack([np.full(6, 0.5), probability]),
        },
        meta={"labels": [0, 1], "prefix": 2, "search_cost": 3.0},
    )  # fmt: skip
    return dataset, representation, clusters, PseudoLabels(arrays={"order": np.array(order)}), model


def test_values_by_hand():
    metrics = feature_ranking_metrics(*by_hand(), k=2, figures=False)
    metrics.check()
    values = metrics.values
    assert set(values) == set(METRICS)
    assert values["precision_at_k"] == 1.0
    assert values["average_precision"] == 1.0
    assert values["log_loss"] == pytest.approx(log_loss(Y, P))
    assert values["auc"] == pytest.approx(roc_auc_score(Y, P))
    assert values["relative_information_gain"] == pytest.approx(
        1 - log_loss(Y, P) / np.log(2)
    )  # half of them are clicks
    assert values["n_features"] == 2
    assert values["search_cost"] == 3.0
    assert values["feature_groups"] == 4
    curves = metrics.tables["curves"].groupby("curve")["y"].apply(list)
    assert curves["log_loss_by_features"] == pytest.approx([np.log(2), log_loss(Y, P)])
    assert curves["fitting_cost_by_features"] == [1.0, 2.0]
    assert curves["precision_by_length"] == pytest.approx([1, 1, 2 / 3, 0.5])


def test_average_precision_of_a_bad_order():
    values = feature_ranking_metrics(*by_hand(order=(1, 2, 3, 0)), k=2, figures=False).values
    assert values["precision_at_k"] == 0.5
    assert values["average_precision"] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_a_cross_is_informative_if_all_its_columns_are():
    members = [[0, -1], [0, 1], [0, 2], [2, -1]]
    values = feature_ranking_metrics(*by_hand(order=(0, 1, 2, 3), members=members), k=3, figures=False).values
    assert values["precision_at_k"] == pytest.approx(2 / 3)


def test_without_truth_about_columns_the_model_is_judged_alone():
    values = feature_ranking_metrics(*by_hand(informative=None), k=2, figures=False).values
    assert "precision_at_k" not in values
    assert "average_precision" not in values
    assert "log_loss" in values


def test_a_certain_mistake_costs_much_but_is_finite():
    values = feature_ranking_metrics(*by_hand(probability=np.where(Y == 1, 0.0, 1.0)), k=2, figures=False).values
    assert values["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-6)
    assert values["auc"] == 0


def test_bad_input():
    with pytest.raises(ValueError, match="k = 5 is more than the 4 features"):
        feature_ranking_metrics(*by_hand(), k=5)
    with pytest.raises(ValueError, match="the test rows hold one label only"):
        feature_ranking_metrics(*by_hand(label=np.ones(6, int)), k=2)


def test_the_whole_method():
    """All stages on a small log: informative columns on top, a better model on them than on the whole table."""
    dataset = sparse_clicks(
        n=3000, informative=[2, 5, 8, 12], noise=[2, 30, 500, 1000], noise_copies=3, zipf_noise=1, replicates=1, strength=0.8
    )  # fmt: skip
    hidden = dataset.without_truth()
    scores = feature_scores(hidden, pairwise=10, seed=0)
    groups = feature_groups(scores)
    values = {}
    for name, k, prefixes in (("top", 4, "doubling"), ("whole", None, "whole")):
        ranking = feature_ranking(scores, groups, k=k)
        model = model_search(hidden, scores, ranking, prefixes=prefixes, seed=0)
        metrics = feature_ranking_metrics(dataset, scores, groups, ranking, model, k=4, figures=name == "top")
        values[name] = metrics.values
        if name == "top":
            assert set(metrics.figures) == {"score_by_cardinality", "prefixes", "pairs"}
            assert all(png.startswith(b"\x89PNG") for png in metrics.figures.values())
    assert values["top"]["precision_at_k"] == 1.0
    assert values["top"]["log_loss"] < values["whole"]["log_loss"]
    assert values["top"]["search_cost"] < values["whole"]["search_cost"]
