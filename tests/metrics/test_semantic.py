"""Pixel accuracy and mIoU against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from tasks.metrics.semantic import semantic_scores


def test_scores_equal_scikit_learn_without_void():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 4, (5, 8, 8)), rng.integers(0, 4, (5, 8, 8))
    accuracy, miou = semantic_scores(predicted, truth, 4)
    assert accuracy == pytest.approx(accuracy_score(truth.ravel(), predicted.ravel()))
    assert miou == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="macro"))


def test_void_does_not_count_and_a_pixel_without_class_is_wrong():
    truth = np.array([[[0, 0, 1, 255]]])
    assert semantic_scores(np.array([[[0, -1, 1, 0]]]), truth, 3) == pytest.approx((2 / 3, (1 / 2 + 1) / 2))


def test_miou_is_over_classes_present():
    truth = np.zeros((1, 2, 2), dtype=int)
    assert semantic_scores(np.array([[[0, 0], [0, 2]]]), truth, 3) == pytest.approx((0.75, 0.75))


def test_nothing_labelled_gives_zero():
    assert semantic_scores(np.zeros((1, 2, 2), int), np.full((1, 2, 2), 255), 3) == (0.0, 0.0)
