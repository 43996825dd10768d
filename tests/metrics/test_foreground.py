"""Scores of foreground masks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, fbeta_score, jaccard_score, precision_recall_curve

from tasks.artifacts import Dataset
from tasks.metrics.foreground import (
    ForegroundTruth,
    absolute_error,
    box_overlap,
    curve,
    f_measure,
    foreground_truth,
    ious,
    largest_component_box,
    localised,
    pixel_precision,
    precision_recall,
)


@pytest.fixture
def pair() -> tuple[np.ndarray, ForegroundTruth]:
    rng = np.random.default_rng(0)
    return rng.random((6, 10, 12)) > 0.6, ForegroundTruth((rng.random((6, 10, 12)) > 0.5).astype(np.uint8))


def test_iou_and_f_are_those_of_scikit_learn(pair):
    predicted, truth = pair
    precision, recall = precision_recall(predicted, truth)
    for i in range(6):
        y, p = truth.foreground[i].ravel(), predicted[i].ravel()
        assert ious(predicted, truth)[i] == pytest.approx(jaccard_score(y, p))
        assert f_measure(precision, recall, 1.0)[i] == pytest.approx(f1_score(y, p))
        assert f_measure(precision, recall)[i] == pytest.approx(fbeta_score(y, p, beta=np.sqrt(0.3)))
        assert pixel_precision(predicted, truth)[i] == pytest.approx((y == p).mean())


def test_void_pixels_count_nowhere(pair):
    predicted, truth = pair
    half = np.array(truth.objects)
    half[:, 5:] = 255
    cut = ForegroundTruth(truth.objects[:, :5])
    for measure in (ious, pixel_precision, absolute_error):
        assert measure(predicted, ForegroundTruth(half)) == pytest.approx(measure(predicted[:, :5], cut))
    assert ForegroundTruth(np.full((2, 3, 3), 255)).scored.tolist() == [False, False]


def test_empty_masks():
    truth = ForegroundTruth(np.array([[[0, 1]], [[0, 0]]]))
    empty = np.zeros((2, 1, 2), dtype=bool)
    assert ious(empty, truth).tolist() == [0, 1]
    assert [p.tolist() for p in precision_recall(empty, truth)] == [[0, 0], [0, 0]]
    assert f_measure(np.zeros(2), np.zeros(2)).tolist() == [0, 0]
    assert localised(empty, truth).tolist() == [False, False]


def test_precision_recall_curve(pair):
    _, truth = pair
    soft = np.random.default_rng(1).random((1, 10, 12))
    one = ForegroundTruth(truth.objects[:1])
    precision, recall = curve(soft, one)
    exact_p, exact_r, thresholds = precision_recall_curve(one.foreground.ravel(), soft.ravel())
    for t, p, r in zip(np.linspace(0, 1, 52)[:-1], precision, recall, strict=True):
        place = int(np.searchsorted(thresholds, t, side="right"))
        assert (p, r) == pytest.approx((exact_p[place] if place < len(thresholds) else 0, exact_r[place]))


def test_absolute_error():
    truth = ForegroundTruth(np.array([[[1, 0, 255]]]))
    assert absolute_error(np.array([[[0.75, 0.5, 0.9]]]), truth) == pytest.approx([0.375])


def test_boxes():
    mask = np.zeros((8, 8), dtype=bool)
    mask[1:3, 1:3], mask[4:8, 5:8] = True, True
    assert largest_component_box(mask) == (4, 5, 8, 8)
    assert largest_component_box(np.eye(4, dtype=bool)) == (0, 0, 4, 4)  # 8-connected
    assert largest_component_box(np.zeros((3, 3), dtype=bool)) is None
    assert box_overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_overlap((0, 0, 1, 1), (1, 1, 2, 2)) == 0


def test_localisation_takes_the_best_of_several_objects():
    objects = np.zeros((2, 12, 12), dtype=np.uint8)
    objects[:, 1:4, 1:4], objects[:, 6:11, 6:11], objects[:, 0, :] = 1, 2, 255
    predicted = np.zeros((2, 12, 12), dtype=bool)
    predicted[0, 6:11, 6:10] = True  # 20 of 25 pixels of object 2
    predicted[1, 5:8, 5:8] = True  # too little of it
    assert localised(predicted, ForegroundTruth(objects)).tolist() == [True, False]


def test_half_a_box_is_a_miss():
    objects, predicted = np.zeros((1, 4, 4), dtype=np.uint8), np.zeros((1, 4, 4), dtype=bool)
    objects[0, :2], predicted[0, :1] = 1, True
    assert not localised(predicted, ForegroundTruth(objects))[0]  # IoU is 0.5, not above


def test_truth_of_other_data_sets():
    arrays = {"images": np.zeros((2, 4, 4, 3)), "instance": np.arange(32).reshape(2, 4, 4) % 3}
    assert np.array_equal(foreground_truth(Dataset({}, arrays), np.array([1])).foreground[0], arrays["instance"][1] > 0)
    with pytest.raises(ValueError, match="truth array 'foreground' or 'instance' is needed"):
        foreground_truth(Dataset({}, {"images": arrays["images"]}), np.array([0]))
