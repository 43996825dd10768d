"""Panoptic quality.

Shape legend: H, W pixels, S segments of one image (with void as segment 0), C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_MATCH_IOU = 0.5
_MOSTLY_VOID = 0.5

# Segment ids [H, W] (0 void) and the class of every id [S] (-1 void; entry 0 is void).
PanopticMap = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PanopticCounts:
    """Per class: sum of the IoU of matches, matches, false positives, false negatives (float64 or int64 [C])."""

    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    def quality(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """PQ, SQ and RQ of every class, float64 [C]; NaN for a class that occurs nowhere, SQ 0 without a match."""
        size = self.tp + self.fp / 2 + self.fn / 2
        seen = size > 0
        nan = np.full(len(self.tp), np.nan)
        rq = np.divide(self.tp, size, out=nan.copy(), where=seen)
        sq = np.where(seen, self.iou / np.maximum(self.tp, 1), np.nan)
        return np.divide(self.iou, size, out=nan, where=seen), sq, rq


def panoptic_counts(pairs: Iterable[tuple[PanopticMap, PanopticMap]], classes: int) -> PanopticCounts:
    """Matches of predicted and true segments over images (Kirillov et al., CVPR 2019, arXiv 1801.00868, section 4).

    A match has the same class and IoU > 0.5, which makes it unique. Pixels that are void in the truth do not count in
    the area of a predicted segment, and a predicted segment that lies mostly in void is no false positive.
    """
    iou = np.zeros(classes)
    tp, fp, fn = (np.zeros(classes, dtype=np.int64) for _ in range(3))
    for (predicted_HW, predicted_S), (truth_HW, truth_S) in pairs:
        overlap_PT = _overlaps(predicted_HW, truth_HW, len(predicted_S), len(truth_S))
        # Ids without a class are void, whatever their number.
        void_T = truth_S < 0
        in_void_P = overlap_PT[:, void_T].sum(axis=1)
        area_P, area_T = overlap_PT.sum(axis=1), overlap_PT.sum(axis=0)
        union_PT = (area_P - in_void_P)[:, None] + area_T[None, :] - overlap_PT
        same_PT = (predicted_S[:, None] == truth_S[None, :]) & (predicted_S[:, None] >= 0)
        matched_PT = same_PT & (overlap_PT > _MATCH_IOU * union_PT)
        assert matched_PT.sum(axis=0).max(initial=0) <= 1, "a true segment is matched twice: predictions overlap"
        predicted, truth = np.nonzero(matched_PT)
        np.add.at(iou, predicted_S[predicted], overlap_PT[predicted, truth] / union_PT[predicted, truth])
        np.add.at(tp, predicted_S[predicted], 1)
        false_P = (predicted_S >= 0) & (area_P > 0) & ~matched_PT.any(axis=1) & (in_void_P <= _MOSTLY_VOID * area_P)
        missed_T = (truth_S >= 0) & (area_T > 0) & ~matched_PT.any(axis=0)
        np.add.at(fp, predicted_S[false_P], 1)
        np.add.at(fn, truth_S[missed_T], 1)
    return PanopticCounts(iou, tp, fp, fn)


def true_map(semantic_HW: np.ndarray, instance_HW: np.ndarray, things: list[int], classes: int) -> PanopticMap:
    """The truth as segments: one per stuff class and one per object; a thing pixel that belongs to no object is void."""
    semantic_HW, instance_HW = semantic_HW.astype(np.int64), instance_HW.astype(np.int64)
    is_thing_HW = np.isin(semantic_HW, things)
    void_HW = (semantic_HW < 0) | (semantic_HW >= classes) | (is_thing_HW & (instance_HW <= 0))
    key_HW = np.where(is_thing_HW, instance_HW, 0) * classes + semantic_HW
    keys, ids = np.unique(np.where(void_HW, -1, key_HW), return_inverse=True)
    ids_HW = ids.reshape(semantic_HW.shape) + (0 if keys[0] < 0 else 1)
    known = keys[keys >= 0]
    return ids_HW, np.append(-1, known % classes)


def predicted_map(panoptic_HW: np.ndarray, class_of: np.ndarray, is_thing: np.ndarray) -> PanopticMap:
    """A predicted map as segments of classes: stuff segments of one class are merged, segments without a class are void.

    `class_of` [S] and `is_thing` [S] describe the ids of `panoptic_HW`; entry 0 is void.
    """
    most = int(class_of.max(initial=0))
    new_id = np.arange(len(class_of))
    # Stuff of one class gets one id, beyond those of the things.
    new_id = np.where(is_thing, new_id, len(class_of) + class_of)
    new_id[class_of < 0] = 0
    classes = np.full(len(class_of) + most + 1, -1, dtype=np.int64)
    classes[new_id] = class_of
    classes[0] = -1
    return new_id[panoptic_HW], classes


def _overlaps(predicted_HW: np.ndarray, truth_HW: np.ndarray, predicted: int, truth: int) -> np.ndarray:
    flat = np.bincount((predicted_HW.astype(np.int64) * truth + truth_HW).ravel(), minlength=predicted * truth)
    return flat.reshape(predicted, truth)
