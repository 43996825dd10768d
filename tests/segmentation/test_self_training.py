"""Renewal of pseudo-masks from predictions."""

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset, PseudoLabels
from tasks.segmentation.panoptic_inference import Prediction
from tasks.segmentation.self_training import Targets, renewed_masks


def _mask(*box):
    mask = np.zeros((10, 10), dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def _prediction(masks, scores, categories=None):
    categories = np.arange(len(masks)) if categories is None else np.array(categories)
    empty = np.full((10, 10), -1)
    return Prediction(np.array(masks).reshape(-1, 10, 10), categories, np.array(scores, dtype=float), empty, empty)


def test_sure_predictions_replace_the_old_masks_that_they_overlap():
    old = [_mask(0, 0, 4, 4), _mask(6, 6, 9, 9)]
    sure, unsure = _mask(0, 0, 4, 5), _mask(6, 0, 9, 3)
    masks, source = renewed_masks(_prediction([sure, unsure], [0.7, 0.69]), old, 0.7)
    assert source == [0, -1]
    assert (masks[0] == sure).all()
    assert (masks[1] == old[1]).all()


def test_overlap_of_exactly_half_drops_the_old_mask():
    old = [_mask(0, 0, 4, 4)]
    for columns, kept in ((8, 0), (9, 1)):  # IoU 16/32 and 16/36
        masks, _ = renewed_masks(_prediction([_mask(0, 0, 4, columns)], [0.9]), old, 0.7)
        assert len(masks) == 1 + kept


def test_without_predictions_everything_stays():
    old = [_mask(0, 0, 4, 4)]
    masks, source = renewed_masks(_prediction([], []), old, 0.7)
    assert source == [-1]
    assert (masks[0] == old[0]).all()


def test_targets_after_a_renewal():
    panoptic = np.zeros((1, 10, 10), dtype=np.int32)
    panoptic[0, :4, :4], panoptic[0, 5:] = 1, 2
    semantic = np.full((1, 10, 10), 255, dtype=np.uint8)
    semantic[0, :4, :4], semantic[0, 5:] = 0, 3
    table = pd.DataFrame(
        {"sample": [0, 0], "segment": [1, 2], "category": [5, 10], "is_thing": [True, False], "area": [16, 50]}
    )
    samples = pd.DataFrame({"sample": [0], "split": pd.Series(["train"], dtype="str")})
    dataset = Dataset({"samples": samples}, {"images": np.zeros((1, 10, 10, 3), dtype=np.uint8)})
    targets = Targets(dataset, PseudoLabels({"segments": table}, {"panoptic": panoptic, "semantic_target": semantic}))
    instance, category, target = targets.maps(0)
    assert (instance == panoptic[0] * (panoptic[0] == 1)).all()
    assert np.unique(category).tolist() == [-1, 5]
    taken = targets.renew(np.array([0]), [_prediction([_mask(0, 0, 4, 3), _mask(5, 0, 8, 3)], [0.9, 0.8], [6, 7])], 0.7)
    instance, category, target = targets.maps(0)
    assert taken == 2
    assert len(np.unique(instance)) == 3
    assert np.unique(category).tolist() == [-1, 6, 7]
    assert (target[0:4, 3] == 255).all()  # left by the old object, nobody knows what it is
    assert (target[5:8, :3] == 0).all()
    assert (target[9] == 3).all()
    assert targets.batch(np.array([0, 0])).images_BHWC.shape == (2, 10, 10, 3)
