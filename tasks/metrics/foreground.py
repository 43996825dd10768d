"""Scores of foreground masks against true objects.

Shape legend: n images, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label

from tasks.artifacts import Dataset

VOID = 255
THRESHOLDS = np.linspace(0, 1, 52)[:-1]  # of the precision-recall curve: 0, 1/51, ...
_EIGHT = np.ones((3, 3))
_BOX_IOU = 0.5


@dataclass(frozen=True)
class ForegroundTruth:
    """Object numbers uint8/int [n, H, W] of some images: 0 background, 255 void. `scored` [n]: any pixel is labelled."""

    objects: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        return np.not_equal(self.objects, VOID)

    @property
    def foreground(self) -> np.ndarray:
        return (self.objects > 0) & self.labelled

    @property
    def scored(self) -> np.ndarray:
        return np.asarray(self.labelled.any(axis=(1, 2)))


def foreground_truth(dataset: Dataset, rows: np.ndarray) -> ForegroundTruth:
    """The truth `foreground`, or `instance` (0: no object), of samples `rows`; ValueError if there is neither."""
    for name in ("foreground", "instance"):
        if name in dataset.arrays:
            return ForegroundTruth(np.asarray(dataset.arrays[name][rows]))
    raise ValueError("dataset: truth array 'foreground' or 'instance' is needed and absent; use a data set with masks")


def ious(predicted_nHW: np.ndarray, truth: ForegroundTruth) -> np.ndarray:
    """IoU [n] of boolean masks; void pixels count nowhere, and two empty masks agree (1)."""
    predicted_nHW = predicted_nHW & truth.labelled
    shared = (predicted_nHW & truth.foreground).sum(axis=(1, 2))
    union = (predicted_nHW | truth.foreground).sum(axis=(1, 2))
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


def f_measure(precision: np.ndarray, recall: np.ndarray, beta2: float = 0.3) -> np.ndarray:
    """(1 + beta^2) P R / (beta^2 P + R), 0 where both are 0 (Achanta et al., CVPR 2009)."""
    below = beta2 * precision + recall
    return np.where(below > 0, (1 + beta2) * precision * recall / np.where(below > 0, below, 1), 0.0)


def precision_recall(predicted_nHW: np.ndarray, truth: ForegroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [n] of boolean masks; the precision of an empty mask is 0, as is the recall without object."""
    predicted_nHW = predicted_nHW & truth.labelled
    hits = (predicted_nHW & truth.foreground).sum(axis=(1, 2))
    found, present = predicted_nHW.sum(axis=(1, 2)), truth.foreground.sum(axis=(1, 2))
    return hits / np.maximum(found, 1), hits / np.maximum(present, 1)


def curve(masks_nHW: np.ndarray, truth: ForegroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision and recall over images at every one of `THRESHOLDS` (a mask is what lies above)."""
    pairs = [precision_recall(masks_nHW > threshold, truth) for threshold in THRESHOLDS]
    return np.array([p.mean() for p, _ in pairs]), np.array([r.mean() for _, r in pairs])


def absolute_error(masks_nHW: np.ndarray, truth: ForegroundTruth) -> np.ndarray:
    """Mean [n] of |mask - truth| over labelled pixels."""
    error = np.abs(masks_nHW.astype(np.float32) - truth.foreground) * truth.labelled
    return error.sum(axis=(1, 2)) / np.maximum(truth.labelled.sum(axis=(1, 2)), 1)


def pixel_precision(predicted_nHW: np.ndarray, truth: ForegroundTruth) -> np.ndarray:
    """Share [n] of labelled pixels that are right ("P" of Rubinstein et al., CVPR 2013)."""
    right = (predicted_nHW == truth.foreground) & truth.labelled
    return right.sum(axis=(1, 2)) / np.maximum(truth.labelled.sum(axis=(1, 2)), 1)


def largest_component_box(mask_HW: np.ndarray) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right), ends excluded, of the largest 8-connected component; None if the mask is empty."""
    parts_HW = np.zeros(mask_HW.shape, dtype=np.int32)
    count = int(label(mask_HW, _EIGHT, output=parts_HW))  # type: ignore[arg-type]
    if count == 0:
        return None
    biggest = int(np.bincount(parts_HW.ravel())[1:].argmax())
    rows, columns = find_objects(parts_HW)[biggest]
    return rows.start, columns.start, rows.stop, columns.stop


def box_overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """IoU of two boxes (top, left, bottom, right)."""
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union


def localised(predicted_nHW: np.ndarray, truth: ForegroundTruth) -> np.ndarray:
    """Boolean [n]: the box of the largest component overlaps the box of a true object by IoU > 0.5 (CorLoc).

    An empty mask is a miss."""
    hits = np.zeros(len(predicted_nHW), dtype=bool)
    for index, (mask_HW, objects_HW) in enumerate(zip(predicted_nHW, truth.objects, strict=True)):
        box = largest_component_box(mask_HW)
        if box is None:
            continue
        numbers_HW = np.where(objects_HW == VOID, 0, objects_HW).astype(np.int64)
        boxes = [found for found in find_objects(numbers_HW) if found is not None]
        hits[index] = any(box_overlap(box, (y.start, x.start, y.stop, x.stop)) > _BOX_IOU for y, x in boxes)
    return hits
