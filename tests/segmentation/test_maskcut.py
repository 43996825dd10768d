"""MaskCut on grids whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tasks.segmentation.maskcut import corners, foreground, maskcut

PAPER = {"n_masks": 3, "tau": 0.15, "max_corners": 4, "max_area": 1.0, "min_area": 0.01}


def _features(labels):
    return np.eye(labels.max() + 1)[labels]


def _grid(**boxes):
    """8x8 labels, 0 but for the given boxes (number: rows and columns)."""
    labels = np.zeros((8, 8), dtype=int)
    for number, (top, bottom, left, right) in enumerate(boxes.values(), start=1):
        labels[top:bottom, left:right] = number
    return labels


def _masks(labels, **change):
    return maskcut(_features(labels), **{**PAPER, **change}).masks


def test_one_object_is_found_exactly():
    labels = _grid(a=(1, 4, 2, 5))
    masks = _masks(labels)
    assert len(masks) == 1
    assert np.array_equal(masks[0], labels == 1)


@pytest.mark.parametrize("n_masks", [2, 3, 6])
def test_two_objects_and_nothing_more(n_masks):
    labels = _grid(a=(1, 4, 2, 5), b=(5, 7, 3, 6))
    masks = _masks(labels, n_masks=n_masks)
    assert [mask.sum() for mask in masks] == [9, 6]
    assert np.array_equal(masks[0], labels == 1)
    assert np.array_equal(masks[1], labels == 2)


def test_half_of_the_image_is_background_only_to_the_corner_filter():
    labels = _grid(half=(4, 8, 0, 8), b=(5, 7, 1, 4))
    assert _masks(labels)[0].sum() == 32
    assert corners(_masks(labels)[0]) == 2
    assert _masks(labels, max_corners=1) == []


def test_area_filter():
    labels = _grid(a=(1, 7, 1, 6))
    assert [mask.sum() for mask in _masks(labels)] == [30]
    assert _masks(labels, max_area=0.4) == []
    assert [mask.sum() for mask in _masks(labels, max_area=30 / 64)] == [30]


def test_small_masks_are_dropped_from_the_second_cut_on():
    labels = _grid(a=(1, 2, 1, 2), b=(4, 5, 4, 5))
    # First cut: the paper's rule does not look at its area.
    assert [mask.sum() for mask in _masks(labels, min_area=1 / 64)] == [1]
    assert [mask.sum() for mask in _masks(labels, min_area=0.5 / 64)] == [1, 1]


def test_constant_features_give_no_mask_and_no_noise():
    cuts = maskcut(np.ones((8, 8, 4)), **PAPER)
    assert cuts.masks == []
    assert not cuts.eigenvector.any()


def test_only_the_piece_with_the_seed_is_kept():
    labels = _grid(a=(1, 4, 1, 4), b=(5, 7, 5, 7))
    labels[labels == 2] = 1
    masks = _masks(labels)
    # One feature, two pieces: the first cut returns one of them, the second cut the other.
    assert sorted(mask.sum() for mask in masks) == [4, 9]
    assert all(label(mask)[1] == 1 for mask in masks)


def test_pieces_that_touch_at_a_corner_are_two():
    v = np.full((8, 8), -0.1)
    v[2:4, 2:4], v[4:6, 4:6] = 1.0, 0.9
    assert foreground(v)[0].sum() == 4


def test_side_with_three_corners_is_turned_around():
    v = np.ones((8, 8))
    v[2:5, 2:6] = -0.5
    found, turned = foreground(v)
    assert np.array_equal(found, v < 0)
    assert turned[3, 3] > turned[0, 0]


def test_side_without_the_seed_is_turned_around():
    v = np.full((8, 8), 0.2)
    v[:, :5] = 0.1
    v[3:5, 1:3] = -3.0
    # The seed is the deep hole; above the mean lies everything else, which holds all corners.
    assert np.array_equal(foreground(v)[0], v == -3.0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_sign_of_the_eigenvector_does_not_matter(seed):
    v = np.random.default_rng(seed).normal(size=(6, 7)).cumsum(axis=0).cumsum(axis=1)
    found, turned = foreground(v)
    found_too, turned_too = foreground(-v)
    assert np.array_equal(found, found_too)
    assert np.array_equal(turned, turned_too)
    assert found.any()
    assert label(found)[1] == 1


def test_corner_rule_alone_is_not_blind_to_the_sign():
    """The case that the sign convention settles: one side holds three corners and the seed."""
    v = np.full((6, 6), 0.4)
    v[0, 0] = 1.0
    v[3:, 3:] = -0.5
    found, _ = foreground(v)
    assert corners(found) == 1
    assert np.array_equal(found, v < 0)
    assert np.array_equal(foreground(-v)[0], found)


@given(seed=st.integers(0, 10_000), tau=st.floats(-0.5, 0.9))
@settings(max_examples=40, deadline=None)
def test_masks_are_disjoint_and_within_the_limits(seed, tau):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(4, 3))[rng.integers(4, size=(6, 8))] + 0.2 * rng.normal(size=(6, 8, 3))
    settings_ = {"n_masks": 4, "tau": tau, "max_corners": 1, "max_area": 0.4, "min_area": 0.03}
    cuts = maskcut(features, **settings_)
    assert len(cuts.masks) <= 4
    assert cuts.eigenvector.shape == (6, 8)
    for mask in cuts.masks:
        assert corners(mask) <= 1
        assert 0 < mask.sum() <= 0.4 * 48
    assert sum((mask.astype(int) for mask in cuts.masks), np.zeros((6, 8), int)).max() <= 1
    again = maskcut(features * 7, **settings_)
    assert all(np.array_equal(a, b) for a, b in zip(cuts.masks, again.masks, strict=True))
