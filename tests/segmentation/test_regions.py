"""Boxes and overlaps of masks."""

import itertools

import numpy as np
import pytest

from tasks.segmentation.regions import box_iou, boxes_of, instances_of, mask_iou


def test_boxes_and_mask_iou_against_loops():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 7, 9)) < 0.2, rng.random((5, 7, 9)) < 0.2
    a[1] = False
    for mask, box in zip(a, boxes_of(a), strict=True):
        y, x = np.nonzero(mask)
        assert box.tolist() == ([y.min(), x.min(), y.max() + 1, x.max() + 1] if mask.any() else [0, 0, 0, 0])
    for i, j in itertools.product(range(4), range(5)):
        assert mask_iou(a, b)[i, j] == pytest.approx((a[i] & b[j]).sum() / (a[i] | b[j]).sum())


def test_box_iou_is_the_mask_iou_of_filled_boxes():
    rng = np.random.default_rng(1)
    boxes = np.concatenate([rng.integers(0, 6, (8, 2)), rng.integers(6, 12, (8, 2))], axis=1)
    filled = np.zeros((8, 12, 12), dtype=bool)
    for mask, (top, left, bottom, right) in zip(filled, boxes, strict=True):
        mask[top:bottom, left:right] = True
    assert box_iou(boxes[:3], boxes) == pytest.approx(mask_iou(filled[:3], filled))
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0


def test_instances_in_the_order_of_their_numbers():
    assert instances_of(np.array([[0, 5, 2]])).tolist() == [[[False, False, True]], [[False, True, False]]]
