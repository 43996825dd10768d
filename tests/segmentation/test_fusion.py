"""Masks and dense clusters painted into one pseudo-label."""

import numpy as np
import pytest

from tasks.segmentation.fusion import fuse, paint, share_inside

OFF = np.zeros(3, dtype=bool)


def _mask(*box, size=10):
    mask = np.zeros((size, size), dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def _fuse(masks, dense, *, fusion="painted", overlap=0.7, thing_like=OFF, categories=None):
    categories = np.arange(len(masks)) if categories is None else np.array(categories)
    return fuse(
        np.array(masks).reshape(-1, *dense.shape), categories, dense,
        thing_clusters=8, fusion=fusion, stuff_overlap_max=overlap, thing_like=thing_like,
    )  # fmt: skip


def test_small_objects_end_on_top_whatever_their_order():
    large, small = _mask(0, 0, 8, 8), _mask(2, 2, 5, 5)
    for masks, expected in (([large, small], 1), ([small, large], 0)):
        shown = paint(np.stack(masks), 10, 10)
        assert (shown[2:5, 2:5] == expected).all()
        assert (shown == 1 - expected).sum() == 64 - 9
        assert (shown == -1).sum() == 36


def test_order_is_by_box_not_by_pixels():
    frame = _mask(0, 0, 9, 9) & ~_mask(1, 1, 8, 8)  # 32 pixels, box 81
    block = _mask(0, 0, 7, 7)  # 49 pixels, box 49
    assert (paint(np.stack([block, frame]), 10, 10)[:7, :7] == 0).all()


def test_hidden_object_is_dropped_and_ids_are_consecutive():
    hidden, cover = _mask(2, 2, 5, 5), _mask(2, 2, 5, 5)
    fused = _fuse([hidden, cover], np.zeros((10, 10), int))
    assert [s[:3] for s in fused.segments] == [(1, 1, True), (2, 8, False)]
    assert np.unique(fused.panoptic_HW).tolist() == [1, 2]


def test_stuff_mostly_inside_objects_stays_void():
    dense = np.zeros((10, 10), int)
    dense[:, :2] = 1  # 20 pixels, 16 of them inside the object: 0.8
    fused = _fuse([_mask(0, 0, 8, 2)], dense)
    assert [s[1] for s in fused.segments] == [0, 8]
    assert (fused.panoptic_HW[8:, :2] == 0).all()
    assert (fused.semantic_HW[8:, :2] == 255).all()
    assert (fused.semantic_HW[:8, :2] == 0).all()
    assert (fused.semantic_HW[:, 2:] == 1).all()
    # At exactly the limit the cluster is kept: only more than that share skips it.
    assert [s[1] for s in _fuse([_mask(0, 0, 8, 2)], dense, overlap=0.8).segments] == [0, 8, 9]


def test_image_without_masks_keeps_its_stuff():
    dense = np.full((10, 10), 2)
    fused = _fuse([], dense)
    assert fused.segments == [(1, 10, False, 100)]
    assert (fused.semantic_HW == 3).all()


def test_thing_like_clusters_are_ignored_outside_objects_only():
    dense = np.zeros((10, 10), int)
    dense[:, 5:] = 1
    fused = _fuse([_mask(0, 4, 3, 7)], dense, thing_like=np.array([False, True, False]))
    assert (fused.semantic_HW[0:3, 4:7] == 0).all()
    assert (fused.semantic_HW[3:, 5:] == 255).all()
    assert (fused.semantic_HW[:, :4] == 1).all()
    assert (fused.panoptic_HW > 0).all()  # the pseudo-label itself keeps the segment


def test_separate_paints_objects_only():
    dense = np.zeros((10, 10), int)
    dense[:, :2] = 1
    fused = _fuse([_mask(0, 0, 8, 2)], dense, fusion="separate")
    assert [s[1:3] for s in fused.segments] == [(0, True)]
    assert (fused.semantic_HW[8:, :2] == 2).all()  # no overlap rule: the dense clusters stay what they are


def test_areas_and_void_of_unclustered_pixels():
    dense = np.full((10, 10), -1)
    dense[0] = 2
    fused = _fuse([_mask(5, 5, 7, 7)], dense)
    assert fused.segments == [(1, 0, True, 4), (2, 10, False, 10)]
    assert (fused.semantic_HW == 255).sum() == 86


def test_share_inside_against_a_loop():
    rng = np.random.default_rng(0)
    dense, masks, owner = rng.integers(0, 4, (5, 6, 6)), rng.random((9, 6, 6)) < 0.3, rng.integers(-1, 5, 9)
    inside = np.zeros((5, 6, 6), bool)
    for mask, image in zip(masks, owner, strict=True):
        if image >= 0:
            inside[image] |= mask
    expected = [inside[dense == k].mean() for k in range(4)]
    assert share_inside(masks, owner, dense, 4) == pytest.approx(expected)
