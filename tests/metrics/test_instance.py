"""COCO scores of masks against pycocotools' own summary and values worked out by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.metrics.instance import Masks, instance_scores


def _random(rng, count, images, score):
    masks = np.zeros((count, 32, 32), dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, 4, 2) * 5
        mask[y : y + rng.integers(8, 12), x : x + rng.integers(8, 12)] = True
    return Masks(
        masks, rng.integers(0, images, count), rng.integers(0, 3, count), rng.random(count) if score else np.ones(count)
    )


@pytest.mark.parametrize("class_aware", [True, False])
def test_equal_to_pycocotools_summary(class_aware, capsys):
    rng = np.random.default_rng(0)
    truth, found = _random(rng, 40, 6, False), _random(rng, 160, 6, True)
    ours = instance_scores(found, truth, 6, class_aware=class_aware)
    assert capsys.readouterr().out == ""
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "height": 32, "width": 32} for i in range(6)],
        "categories": [{"id": c} for c in range(3)],
        "annotations": [
            {"id": i + 1, "image_id": int(truth.owner[i]), "category_id": int(truth.category[i]), "iscrowd": 0,
             "area": int(truth.masks_DHW[i].sum()), "segmentation": _rle(truth.masks_DHW[i])}
            for i in range(40)
        ],
    }  # fmt: skip
    coco.createIndex()
    results = [
        {"image_id": int(found.owner[i]), "category_id": int(found.category[i]), "score": float(found.score[i]),
         "segmentation": _rle(found.masks_DHW[i])}
        for i in range(160)
    ]  # fmt: skip
    evaluation = COCOeval(coco, coco.loadRes(results), "segm")
    evaluation.params.useCats = int(class_aware)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert (ours.ap, ours.ap50, ours.ar100) == pytest.approx(tuple(evaluation.stats[[0, 1, 8]]))
    assert 0.02 < ours.ap < 0.98


def _rle(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _one(mask, category=0, score=1.0):
    return Masks(mask[None], np.array([0]), np.array([category]), np.array([score]))


def test_mask_of_four_fifths_counts_up_to_that_iou():
    truth, found = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[:5], found[:4] = True, True
    scores = instance_scores(_one(found), _one(truth), 1, class_aware=True)
    assert scores.ap50 == pytest.approx(1.0)
    assert (scores.ap, scores.ar100) == pytest.approx((0.7, 0.7))  # IoU 0.5 .. 0.8 of 0.5 .. 0.95
    assert scores.ap_by_iou == pytest.approx([1.0] * 7 + [0.0] * 3)


def test_wrong_class_counts_only_without_classes():
    mask = np.ones((4, 4), bool)
    assert instance_scores(_one(mask, 1), _one(mask, 0), 1, class_aware=True).ap == 0.0
    assert instance_scores(_one(mask, 1), _one(mask, 0), 1, class_aware=False).ap == pytest.approx(1.0)


def test_no_detection_is_zero_and_no_truth_is_an_error():
    mask = np.ones((4, 4), bool)
    nothing = Masks(np.zeros((0, 4, 4), bool), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    scores = instance_scores(nothing, _one(mask), 1, class_aware=True)
    assert (scores.ap, scores.ap50, scores.ar100) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no true instance"):
        instance_scores(_one(mask), nothing, 1, class_aware=True)
