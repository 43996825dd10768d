"""Average precision and recall of instance masks, by pycocotools.

Shape legend: D detections, N true instances, H, W pixels.
"""

import contextlib
import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_DETECTIONS = 100


@dataclass(frozen=True)
class Masks:
    """`owner`: image of each mask int64 [D]; `category` its class int64 [D]; `score` float64 [D], unused for truth."""

    masks_DHW: np.ndarray
    owner: np.ndarray
    category: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class InstanceScores:
    """`ap`: mean over IoU 0.5:0.05:0.95; `ap50`; `ar100`: recall with 100 detections per image, mean over the same IoU.
    `ap_by_iou` and its thresholds; `precision` at recall 0, 0.01, ..., 1 and IoU 0.5, mean over classes."""

    ap: float
    ap50: float
    ar100: float
    thresholds: np.ndarray
    ap_by_iou: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


def instance_scores(detections: Masks, truth: Masks, images: int, *, class_aware: bool) -> InstanceScores:
    """COCO's AP and AR of masks (Lin et al., ECCV 2014, arXiv 1405.0312), mean over the classes present in the truth.

    `class_aware=False` compares masks whatever their class. All zero without detections. Raises ValueError without truth.
    """
    if len(truth.owner) == 0:
        raise ValueError("dataset: no true instance in the evaluated images; leave instance metrics out")
    if not class_aware:
        # pycocotools' own switch still drops detections of classes that the truth lacks.
        detections = replace(detections, category=np.zeros_like(detections.category))
        truth = replace(truth, category=np.zeros_like(truth.category))
    height, width = truth.masks_DHW.shape[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = {
            "images": [{"id": image, "height": height, "width": width} for image in range(images)],
            "categories": [{"id": int(c)} for c in np.unique(truth.category)],
            "annotations": _annotations(truth, {"iscrowd": 0}),
        }
        coco.createIndex()
        found: Any = COCO()
        found.dataset = {**coco.dataset, "annotations": _annotations(detections, {})}
        found.createIndex()
        evaluation = COCOeval(coco, found, "segm")
        evaluation.params.maxDets = [_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TRK = evaluation.eval["precision"][:, :, :, 0, 0]
    recall_TK = evaluation.eval["recall"][:, :, 0, 0]
    known_K = (recall_TK > -1).all(axis=0)
    precision_TRK = precision_TRK[:, :, known_K]
    by_iou_T = precision_TRK.mean(axis=(1, 2))
    return InstanceScores(
        ap=float(precision_TRK.mean()),
        ap50=float(by_iou_T[0]),
        ar100=float(recall_TK[:, known_K].mean()),
        thresholds=evaluation.params.iouThrs,
        ap_by_iou=by_iou_T,
        recall=evaluation.params.recThrs,
        precision=precision_TRK[0].mean(axis=1),
    )


def _annotations(masks: Masks, extra: dict) -> list[dict]:
    encoded = (
        coco_mask.encode(np.asfortranarray(masks.masks_DHW.transpose(1, 2, 0), dtype=np.uint8))
        if len(masks.owner)
        else []
    )
    return [
        {
            "id": index + 1,
            "image_id": int(masks.owner[index]),
            "category_id": int(masks.category[index]),
            "segmentation": rle,
            "area": float(masks.masks_DHW[index].sum()),
            "score": float(masks.score[index]),
            **extra,
        }
        for index, rle in enumerate(encoded)
    ]
