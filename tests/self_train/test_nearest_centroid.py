"""Nearest centroid, logistic regression and the pseudo-labels it learns from, on hand-made vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.pseudo_label.similarity_threshold import similarity_threshold
from tasks.self_train.logistic_regression import logistic_regression
from tasks.self_train.nearest_centroid import nearest_centroid

X = np.array([[3.0, 0.1], [2.0, 0.4], [0.1, 1.0], [0.3, 2.0], [1.0, 0.9], [1.0, 1.1]], dtype=np.float32)
CENTROIDS = np.array([[1.0, 0.0], [0.0, 5.0]], dtype=np.float32)
INDEX = np.arange(len(X), dtype=np.int64)


def case(centroids: np.ndarray = CENTROIDS) -> tuple[Dataset, Representation, Clusters]:
    split = pd.Series(["train"] * 5 + ["test"], dtype="str")
    return (
        Dataset({"samples": pd.DataFrame({"sample": INDEX, "split": split})}),
        Representation({"units": pd.DataFrame({"unit": INDEX, "sample": INDEX})}, {"embedding": X}),
        Clusters(arrays={"centroids": centroids}, meta={"topics": ["a", "b"][: len(centroids)]}),
    )


def test_cosine_and_euclidean_differ_in_the_length_of_centroids() -> None:
    _, representation, clusters = case()
    by_angle = nearest_centroid(representation, clusters)
    assert by_angle.tables["predictions"]["prediction"].tolist() == [0, 0, 1, 1, 0, 1]
    by_distance = nearest_centroid(representation, clusters, metric="euclidean")
    assert by_distance.tables["predictions"]["prediction"].tolist() == [0, 0, 0, 0, 0, 0]
    expected = -np.linalg.norm(X[:, None] - CENTROIDS[None], axis=2)
    np.testing.assert_allclose(by_distance.arrays["similarity"], expected, rtol=1e-6)


def test_one_topic_has_similarities_and_no_prediction() -> None:
    _, representation, clusters = case(CENTROIDS[:1])
    made = nearest_centroid(representation, clusters)
    assert made.arrays["similarity"].shape == (6, 1)
    assert made.tables == {}


def test_the_clear_half_of_train_gets_pseudo_labels() -> None:
    made = similarity_threshold(*case(), margin_quantile=0.5)
    made.check()
    # Leads of train: .966, .784, .895, .843, .074; their median .843 is exclusive. The last is test: lead .067.
    assert made.tables["units"]["pseudo_label"].tolist() == [0, -1, 1, -1, -1, -1]
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    np.testing.assert_allclose(made.arrays["weight"], softmax(20 * unit, axis=1).max(axis=1), rtol=1e-5)


def test_similarity_is_exclusive_too() -> None:
    made = similarity_threshold(*case(), margin_quantile=0.0, similarity=0.99)
    assert made.tables["units"]["pseudo_label"].tolist() == [0, -1, 1, -1, -1, -1]
    with pytest.raises(ValueError, match=r"^similarity: no document of train is clearly nearest"):
        similarity_threshold(*case(), similarity=1.0)


def labels(values: list[int], weight: list[float] | None = None) -> PseudoLabels:
    units = pd.DataFrame({"unit": INDEX, "sample": INDEX, "pseudo_label": np.array(values, dtype=np.int64)})
    arrays: dict[str, Any] = {} if weight is None else {"weight": np.array(weight, dtype=np.float32)}
    return PseudoLabels({"units": units}, arrays, meta={"n_clusters": 3, "topics": ["a", "b", "c"]})


@pytest.mark.parametrize("values", [[0, 0, 2, 2, -1, -1], [0, 1, 2, 2, -1, -1]])
def test_logistic_regression_and_its_coefficients(values: list[int]) -> None:
    dataset, representation, _ = case()
    made = logistic_regression(dataset, representation, labels(values))
    made.check()
    probability = made.arrays["similarity"]
    assert made.tables["predictions"]["prediction"].tolist()[:1] == [0]
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    if 1 not in values:
        assert (probability[:, 1] == 0).all()
    present = sorted(set(values) - {-1})
    logits = (X @ made.arrays["coefficients"].T + made.arrays["intercepts"])[:, present]
    # Of two classes scikit-learn fits one logit; it is the difference of theirs when each has half of it.
    expected = softmax(logits / (2 if len(present) == 2 else 1), axis=1)
    np.testing.assert_allclose(probability[:, present], expected, rtol=1e-3, atol=1e-5)


def test_logistic_regression_does_not_learn_from_test() -> None:
    dataset, representation, _ = case()
    one, other = (logistic_regression(dataset, representation, labels([0, 0, 2, 2, -1, last])) for last in (-1, 0))
    assert one.arrays["similarity"].tobytes() == other.arrays["similarity"].tobytes()


def test_weights_count() -> None:
    dataset, representation, _ = case()
    made = [
        logistic_regression(dataset, representation, labels([0, 0, 2, 2, 2, -1], [1, 1, 1, 1, last, 1])).arrays[
            "similarity"
        ]
        for last in (1.0, 0.01)
    ]
    assert made[1][4, 0] > made[0][4, 0]


def test_one_cluster_is_too_few() -> None:
    dataset, representation, _ = case()
    with pytest.raises(ValueError, match=r"^pseudo_labels: 1 cluster has pseudo-labels in train"):
        logistic_regression(dataset, representation, labels([0, 0, -1, -1, -1, 2]))
