"""Detections and stuff pasted into one map."""

import numpy as np

from tasks.segmentation.panoptic_inference import Inference, Prediction, merge_panoptic, predictions_as_tables


def _mask(*box):
    mask = np.zeros((10, 10), dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


NO_STUFF = np.full((10, 10), -1)
ALL = Inference(score_min=0.0, stuff_area_min=0.0)


def test_detections_are_pasted_in_the_order_of_their_scores():
    masks, scores = np.stack([_mask(0, 0, 6, 6), _mask(3, 3, 9, 9)]), np.array([0.6, 0.9])
    merged = merge_panoptic(masks, scores, NO_STUFF, ALL)
    assert merged.segment_D.tolist() == [2, 1]
    assert (merged.panoptic_HW == 1).sum() == 36
    assert (merged.panoptic_HW == 2).sum() == 36 - 9
    assert (merged.panoptic_HW == 0).sum() == 100 - 72 + 9


def test_a_detection_mostly_taken_is_skipped():
    below = _mask(0, 0, 4, 4)
    for columns, kept in ((2, True), (1, False)):  # half taken, then three quarters taken
        above = _mask(0, columns, 4, 4)
        merged = merge_panoptic(np.stack([above, below]), np.array([0.9, 0.8]), NO_STUFF, ALL)
        assert bool(merged.segment_D[1]) is kept


def test_scores_below_the_limit_are_not_pasted():
    merged = merge_panoptic(_mask(0, 0, 4, 4)[None], np.array([0.49]), NO_STUFF, Inference(score_min=0.5))
    assert merged.segment_D.tolist() == [0]
    assert not merged.panoptic_HW.any()


def test_stuff_fills_free_pixels_if_large_enough():
    stuff = np.zeros((10, 10), dtype=int)
    stuff[0, :4], stuff[9] = 1, -1
    settings = Inference(stuff_area_min=0.04)
    merged = merge_panoptic(_mask(0, 0, 1, 1)[None], np.array([1.0]), stuff, settings)
    # Cluster 1 has 3 free pixels of 4: too few now; pixels without stuff stay void.
    assert merged.stuff == [(2, 0, 86)]
    assert (merged.panoptic_HW == 0).sum() == 3 + 10
    merged = merge_panoptic(np.zeros((0, 10, 10), bool), np.zeros(0), stuff, settings)
    assert merged.stuff == [(1, 0, 86), (2, 1, 4)]


def test_tables_list_detections_first_and_the_semantic_map_shows_all():
    stuff, thing = np.zeros((10, 10), dtype=int), np.full((10, 10), -1)
    stuff[:5], thing[:5] = -1, 3
    prediction = Prediction(
        np.stack([_mask(0, 0, 2, 2), _mask(0, 0, 2, 2)]), np.array([1, 2]), np.array([0.5, 0.7]), stuff, thing
    )
    arrays, segments = predictions_as_tables(np.array([7]), [prediction], 4, ALL)
    assert segments["category"].tolist() == [1, 2, 4]
    assert segments["segment"].tolist() == [0, 1, 2]
    assert segments["is_thing"].tolist() == [True, True, False]
    assert segments["sample"].tolist() == [7, 7, 7]
    assert (arrays["semantic"][0, :2, :2] == 2).all()
    assert (arrays["semantic"][0, 3] == 3).all()  # a thing pixel in no detection keeps its likeliest cluster
    assert (arrays["semantic"][0, 5:] == 4).all()
    assert arrays["panoptic"][0, 3].max() == 0
    assert len(arrays["masks"]) == 2
