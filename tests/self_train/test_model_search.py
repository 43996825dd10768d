"""Model search over prefixes of a ranking: one-hot coding by hand, scikit-learn as reference, nothing from test rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import OneHotEncoder

from tasks.artifacts import Clusters, Dataset, Model
from tasks.prepare.sparse_clicks import sparse_clicks
from tasks.pretrain.feature_scores import feature_scores
from tasks.pseudo_label.feature_ranking import feature_ranking
from tasks.self_train.model_search import model_search

OPTIONS = {
    "n": 2000, "informative": [3, 6, 12], "noise": [2, 400], "noise_copies": 2, "zipf_noise": 1, "replicates": 1, "strength": 0.8,
}  # fmt: skip


def ranked(dataset, k=4, **options):
    scores = feature_scores(dataset, pairwise=0, seed=0, **options)
    clusters = Clusters({"units": scores.tables["units"].assign(cluster=0)})
    return scores, feature_ranking(scores, clusters, k=k)


@pytest.fixture(scope="module")
def case():
    dataset = sparse_clicks(**OPTIONS).without_truth()
    return dataset, *ranked(dataset)


@pytest.fixture(scope="module")
def made(case):
    return model_search(*case, seed=0)


def reference(codes, train, test, y):
    """scikit-learn's one-hot coding with values seen once as rare, and its logistic regression."""
    coder = OneHotEncoder(min_frequency=2, handle_unknown="infrequent_if_exist")
    x = coder.fit_transform(codes[train])
    model = LogisticRegression(C=1.0, solver="liblinear", max_iter=1000, random_state=0).fit(x, y)
    return model.predict_proba(coder.transform(codes[test]))[:, 1]


def test_probabilities_of_every_prefix_are_scikit_learns(case, made):
    dataset, _, ranking = case
    train, test = dataset.rows("train"), dataset.rows("test")
    y, codes = dataset.labels("given_label", train), dataset.arrays["codes"]
    assert made.arrays["lengths"].tolist() == [1, 2, 4]
    for length, got in zip([1, 2, 4], made.arrays["prefix_probability"], strict=True):
        columns = codes[:, ranking.arrays["order"][:length]]
        np.testing.assert_allclose(got, reference(columns, train, test, y), atol=1e-4)


def test_the_prefix_with_the_least_loss_on_the_last_train_rows(case, made):
    dataset, _, ranking = case
    train = dataset.rows("train")
    y, codes, cut = dataset.labels("given_label", train), dataset.arrays["codes"], 1200
    losses = []
    for length in (1, 2, 4):
        columns = codes[:, ranking.arrays["order"][:length]]
        losses.append(log_loss(y[cut:], reference(columns, train[:cut], train[cut:], y[:cut])))
    curves = made.tables["curves"]
    np.testing.assert_allclose(curves.loc[curves["curve"] == "holdout_log_loss_by_features", "y"], losses, atol=1e-4)
    best = int(np.argmin(losses))
    assert made.meta["prefix"] == [1, 2, 4][best]
    assert made.arrays["probability"].tobytes() == made.arrays["prefix_probability"][best].tobytes()
    assert made.arrays["chosen"].tolist() == ranking.arrays["order"][: [1, 2, 4][best]].tolist()


def test_the_stored_weights_are_the_model(case, made, tmp_path):
    """Probability of a test row whose values are common: logistic of intercept and one weight per column."""
    made.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    network = loaded.networks["logistic"]
    dataset = case[0]
    used = np.concatenate([dataset.rows("train"), dataset.rows("test")])
    logit = np.full(len(used), network.state["intercept"][0])
    for i, feature in enumerate(network.config["features"]):
        values = np.unique(dataset.arrays["codes"][used, feature])
        code = np.searchsorted(values, dataset.arrays["codes"][used, feature])
        logit += network.state["weight"][network.state["offset"][i] + code]
    got = 1 / (1 + np.exp(-logit[len(dataset.rows("train")) :]))
    np.testing.assert_allclose(got, loaded.arrays["probability"], atol=1e-6)


def test_rare_and_unseen_values_share_a_place():
    """Column a has value 7 once and 9 only in test: both must get the same probability."""
    rng = np.random.default_rng(0)
    a, y = rng.integers(3, size=60), rng.integers(2, size=60)
    a[5], a[50], a[51] = 7, 7, 9
    split = np.where(np.arange(60) < 50, "train", "test")
    given = pd.Series(y).astype("Int64").where(pd.Series(split == "train"))
    samples = pd.DataFrame({"sample": np.arange(60), "split": pd.Series(split, dtype="str"), "given_label": given})
    dataset = Dataset({"samples": samples}, {"codes": a[:, None].astype(np.int32)}, meta={"code_names": ["a"]})
    probability = model_search(dataset, *ranked(dataset, k=1), seed=0).arrays["probability"]
    assert probability[0] == probability[1]
    assert len(np.unique(probability)) == len(np.unique(np.minimum(a[50:], 7)))


def test_crosses_are_features_too():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=(800, 3)).astype(np.int32)
    y = codes[:, 0] ^ codes[:, 2]
    split = np.where(np.arange(800) < 600, "train", "test")
    given = pd.Series(y).astype("Int64").where(pd.Series(split == "train"))
    samples = pd.DataFrame({"sample": np.arange(800), "split": pd.Series(split, dtype="str"), "given_label": given})
    dataset = Dataset({"samples": samples}, {"codes": codes}, meta={"code_names": ["a", "b", "c"]})
    made = model_search(dataset, *ranked(dataset, k=1, interaction_order=2), seed=0)
    assert (np.round(made.arrays["probability"]) == y[600:]).all()


@pytest.mark.parametrize(
    ("prefixes", "k", "lengths"),
    [
        ("doubling", 1, [1]), ("doubling", 5, [1, 2, 4, 5]), ("doubling", 8, [1, 2, 4, 8]), ("all", 3, [1, 2, 3]), ("whole", 5, [5]),
    ],
)  # fmt: skip
def test_candidates(case, prefixes, k, lengths):
    dataset = case[0]
    made = model_search(dataset, *ranked(dataset, k=k), prefixes=prefixes, seed=0)
    assert made.arrays["lengths"].tolist() == lengths


def test_a_search_over_more_features_costs_more(case, made):
    dataset = case[0]
    whole = model_search(dataset, *ranked(dataset, k=None), seed=0)
    assert whole.meta["search_cost"] > made.meta["search_cost"] > 0
    curves = whole.tables["curves"]
    assert whole.meta["search_cost"] == pytest.approx(
        curves.loc[curves["curve"] == "fitting_cost_by_features", "y"].sum()
    )


def test_the_model_is_the_same_twice_and_knows_no_test_label(case, made):
    dataset = case[0]
    assert dataset.samples["given_label"][dataset.rows("test")].isna().all()
    again = model_search(*case, seed=0)
    assert again.arrays["prefix_probability"].tobytes() == made.arrays["prefix_probability"].tobytes()


def test_bad_input(case):
    dataset, scores, ranking = case
    samples = dataset.samples.copy()
    samples.loc[:3, "given_label"] = 2
    with pytest.raises(ValueError, match="'given_label' has 3 values on train; model_search needs two"):
        model_search(Dataset(dataset.tables | {"samples": samples}, dataset.arrays), scores, ranking, seed=0)
    samples = dataset.samples.copy()
    train = dataset.rows("train")
    samples.loc[train, "given_label"] = np.arange(len(train)) >= len(train) - 5
    with pytest.raises(ValueError, match="holdout: the first 1200 train rows hold one label only"):
        model_search(Dataset(dataset.tables | {"samples": samples}, dataset.arrays), scores, ranking, seed=0)
