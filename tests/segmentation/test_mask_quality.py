"""Recall and precision of masks against true objects."""

import numpy as np

from tasks.segmentation.mask_quality import mask_quality


def _truth():
    truth = np.zeros((3, 10, 10), dtype=np.int16)
    truth[0, 1:5, 1:5] = 1
    truth[0, 6:9, 6:9] = 2
    truth[1, 2:6, 2:6] = 1
    return truth


def test_counts_matches_of_the_own_image_only():
    truth = _truth()
    masks = np.stack([truth[0] == 1, truth[0] == 2, truth[0] == 1])
    # The third mask has the place of an object of image 0, but belongs to image 2, which has none.
    assert mask_quality(masks, np.array([0, 0, 2]), truth) == (2 / 3, 2 / 3)
    assert mask_quality(masks, np.array([0, 0, 2]), truth, np.array([0])) == (1.0, 1.0)
    assert mask_quality(masks, np.array([0, 0, 2]), truth, np.array([1, 2])) == (0.0, 0.0)


def test_needs_more_than_half():
    truth = np.zeros((1, 4, 4), dtype=np.int16)
    truth[0, :2, :] = 1
    half = np.zeros((1, 4, 4), dtype=bool)
    half[0, 0, :] = True
    assert mask_quality(half, np.array([0]), truth) == (0.0, 0.0)
    half[0, 1, 0] = True
    assert mask_quality(half, np.array([0]), truth) == (1.0, 1.0)


def test_background_is_no_object():
    truth = _truth()
    assert mask_quality(truth[:1] == 0, np.array([0]), truth) == (0.0, 0.0)


def test_without_masks_or_objects():
    assert mask_quality(np.zeros((0, 10, 10), dtype=bool), np.zeros(0, dtype=int), _truth()) == (0.0, 0.0)
    assert mask_quality(np.ones((1, 10, 10), dtype=bool), np.array([0]), np.zeros((1, 10, 10), dtype=int)) == (0.0, 0.0)
