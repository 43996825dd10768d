"""Evaluation `point_segmentation`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, jaccard_score

from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.evaluate.point_segmentation import METRICS, point_segmentation

NOTHING = PseudoLabels(meta={"step": "none"})
NAMES = ["floor", "wall", "chair"]


def dataset(truth: np.ndarray) -> Dataset:
    n = len(truth)
    rng = np.random.default_rng(0)
    samples = pd.DataFrame({"sample": [0, 1], "split": pd.Series(["train", "test"], dtype="str")})
    arrays = {
        "points": rng.uniform(0, 3, (n, 3)).astype(np.float32), "rgb": rng.random((n, 3)).astype(np.float32),
        "scene": np.repeat([0, 1], n // 2), "supervoxel": np.arange(n) // 2, "point_label": truth,
    }  # fmt: skip
    return Dataset({"samples": samples}, arrays, meta={"class_names": NAMES, "truth": ["point_label"]})


def model(prediction: np.ndarray, k: int = 3) -> Model:
    rows = np.arange(len(prediction), 2 * len(prediction))
    return Model(
        {}, {"rows": rows, "prediction": prediction, "rounds": np.stack([prediction] * 2)}, meta={"n_clusters": k}
    )


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, 400)


def test_scores_are_those_of_scikit_learn(truth):
    rng = np.random.default_rng(1)
    prediction = np.where(rng.random(200) < 0.7, truth[200:], rng.integers(0, 3, 200))
    renamed = np.array([2, 0, 1])[prediction]
    for shown in (prediction, renamed):  # permuting cluster ids leaves every metric unchanged
        values = point_segmentation(dataset(truth), NOTHING, model(shown)).values
        assert values["miou"] == pytest.approx(jaccard_score(truth[200:], prediction, average="macro"))
        assert values["macc"] == pytest.approx(balanced_accuracy_score(truth[200:], prediction))
        assert values["oacc"] == pytest.approx((truth[200:] == prediction).mean())


def test_a_cluster_left_over_is_wrong_and_an_absent_class_is_skipped():
    truth = np.array([0] * 8 + [0, 0, 0, 0, 1, 1, 1, 1])
    prediction = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    metrics = point_segmentation(dataset(truth), NOTHING, model(prediction, k=4))
    assert metrics.values["miou"] == pytest.approx((3 / 4 + 1) / 2)
    assert metrics.values["oacc"] == pytest.approx(7 / 8)
    curve = metrics.tables["curves"]
    assert curve.loc[curve["curve"] == "IoU against class", "x"].tolist() == [0, 1]
    majority = point_segmentation(dataset(truth), NOTHING, model(prediction, k=4), matching="majority")
    assert majority.values["miou"] == 1


def test_unlabelled_points_do_not_count(truth):
    hidden = truth.copy()
    hidden[300:] = -1
    prediction = truth[200:].copy()
    prediction[100:] = 0
    assert point_segmentation(dataset(hidden), NOTHING, model(prediction)).values["miou"] == 1
    with pytest.raises(ValueError, match="no point of the model is labelled"):
        point_segmentation(dataset(np.full(400, -1)), NOTHING, model(prediction))


def test_pseudo_labels_and_rounds(truth):
    labels = truth.copy()
    units = pd.DataFrame({"unit": np.arange(400), "pseudo_label": labels, "sample": np.repeat([0, 1], 200)})
    made = model(truth[200:])
    made.arrays["rounds"] = np.stack([np.zeros(200, dtype=np.int64), truth[200:]])
    metrics = point_segmentation(dataset(truth), PseudoLabels({"units": units}), made)
    metrics.check()
    assert set(metrics.values) == set(METRICS)
    assert metrics.values["miou_pseudo_labels"] == 1
    curve = metrics.tables["curves"]
    by_round = curve.loc[curve["curve"] == "mIoU against round"]
    assert by_round["x"].tolist() == [0, 1]
    assert by_round["y"].iloc[1] == 1 > by_round["y"].iloc[0]
    assert set(metrics.figures) == {"room", "classes"}
    assert point_segmentation(dataset(truth), NOTHING, made, figures=False).figures == {}


def test_truth_is_needed(truth):
    made = dataset(truth)
    del made.arrays["point_label"]
    with pytest.raises(ValueError, match="truth array 'point_label' is needed"):
        point_segmentation(made, NOTHING, model(truth[200:]))
