"""Cluster ids mapped to classes by votes, for evaluation only.

Shape legend: n images, H, W pixels, D detections, K clusters, C classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.segmentation.regions import box_iou, boxes_of, instances_of

Mapping = Literal["majority", "hungarian"]
UNMAPPED = -1


@dataclass(frozen=True)
class Mapped:
    """Votes [K_T, C] and [K_S, C] of thing and stuff clusters and the class that each got (-1: none)."""

    thing_votes: np.ndarray
    stuff_votes: np.ndarray
    thing_classes: np.ndarray
    stuff_classes: np.ndarray

    @property
    def class_of(self) -> np.ndarray:
        """Class of every category: thing clusters, then stuff clusters, and -1 for category -1."""
        return np.concatenate([self.thing_classes, self.stuff_classes, [UNMAPPED]])


def map_clusters(votes_KC: np.ndarray, mapping: Mapping) -> np.ndarray:
    """Class of every cluster, int64 [K], -1 without votes.

    "majority": the class with most votes, so that many clusters may have one class (the lowest class wins a tie).
    "hungarian": one cluster per class, with the largest sum of votes; the other clusters are unmapped.
    """
    classes_K = np.full(len(votes_KC), UNMAPPED, dtype=np.int64)
    if mapping == "majority":
        voted = votes_KC.sum(axis=1) > 0
        classes_K[voted] = votes_KC[voted].argmax(axis=1)
        return classes_K
    clusters, classes = linear_sum_assignment(votes_KC, maximize=True)
    voted = votes_KC[clusters, classes] > 0
    classes_K[clusters[voted]] = classes[voted]
    return classes_K


def agreement(votes_KC: np.ndarray, classes_K: np.ndarray) -> float:
    """Share of the votes that agree with the mapping; 0 without votes."""
    mapped = classes_K >= 0
    return float(votes_KC[mapped, classes_K[mapped]].sum() / max(votes_KC.sum(), 1))


def detection_votes(
    masks_DHW: np.ndarray,
    owner_D: np.ndarray,
    category_D: np.ndarray,
    score_D: np.ndarray,
    semantic_nHW: np.ndarray,
    instance_nHW: np.ndarray,
    *,
    clusters: int,
    classes: int,
    score_min: float,
    iou_min: float,
) -> np.ndarray:
    """Votes int64 [K, C] of detections for true instances: score >= `score_min` and box IoU > `iou_min` (U2Seg, section 3.5).

    `owner_D` indexes the images given. An instance is of the class that most of its pixels have.
    """
    votes_KC = np.zeros((clusters, classes), dtype=np.int64)
    for image, (semantic_HW, instance_HW) in enumerate(zip(semantic_nHW, instance_nHW, strict=True)):
        mine = np.flatnonzero((owner_D == image) & (score_D >= score_min) & (category_D >= 0))
        truth_NHW = instances_of(instance_HW)
        if len(mine) == 0 or len(truth_NHW) == 0:
            continue
        overlap_MN = box_iou(boxes_of(np.asarray(masks_DHW[mine])), boxes_of(truth_NHW))
        of_truth_N = np.array([majority_class(semantic_HW, mask, classes) for mask in truth_NHW])
        detection, truth = np.nonzero(overlap_MN > iou_min)
        np.add.at(votes_KC, (category_D[mine[detection]], of_truth_N[truth]), 1)
    return votes_KC


def majority_class(semantic_HW: np.ndarray, mask_HW: np.ndarray, classes: int) -> int:
    """The class that most pixels of a mask have, void left out."""
    return int(np.bincount(semantic_HW[mask_HW], minlength=classes)[:classes].argmax())


def region_votes(
    cluster_nHW: np.ndarray, semantic_nHW: np.ndarray, *, clusters: int, classes: int, iou_min: float | None
) -> np.ndarray:
    """Votes int64 [K, C]: each region (the pixels of one cluster in one image) votes for every true region of that
    image with IoU > `iou_min`. Void pixels and pixels without a cluster (-1) count nowhere.
    `iou_min=None`: each pixel votes for its class instead."""
    votes_KC = np.zeros((clusters, classes), dtype=np.int64)
    for cluster_HW, semantic_HW in zip(cluster_nHW, semantic_nHW, strict=True):
        all_KC = confusion(cluster_HW, semantic_HW, clusters, classes)
        shared_KC = all_KC[:-1]
        if iou_min is None:
            votes_KC += shared_KC
            continue
        union_KC = shared_KC.sum(axis=1, keepdims=True) + all_KC.sum(axis=0, keepdims=True) - shared_KC
        votes_KC += (shared_KC > iou_min * union_KC) & (shared_KC > 0)
    return votes_KC


def confusion(predicted: np.ndarray, semantic: np.ndarray, ids: int, classes: int) -> np.ndarray:
    """Pixels int64 [ids + 1, C] by predicted id and true class; the last row counts pixels without a prediction (< 0).
    Void pixels are left out."""
    labelled = (semantic >= 0) & (semantic < classes)
    of_pixel = np.where(predicted[labelled] < 0, ids, predicted[labelled]).astype(np.int64)
    flat = np.bincount(of_pixel * classes + semantic[labelled].astype(np.int64), minlength=(ids + 1) * classes)
    return flat.reshape(ids + 1, classes)
