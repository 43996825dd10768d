"""Object masks and dense clusters painted into one panoptic pseudo-label.

Shape legend: M masks of one image, H, W pixels, n images.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.segmentation.regions import boxes_of

VOID = 255
Fusion = Literal["painted", "separate"]


@dataclass(frozen=True)
class Fused:
    """`panoptic_HW` int32 (0 void); `semantic_HW` uint8 (0 thing, s + 1 stuff, 255 ignore); rows of `segments`
    are (segment, category, is_thing, area)."""

    panoptic_HW: np.ndarray
    semantic_HW: np.ndarray
    segments: list[tuple[int, int, bool, int]]


def paint(masks_MHW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which mask each pixel shows, int64 [H, W] (-1: none): large boxes first, so small objects end on top."""
    shown_HW = np.full((height, width), -1, dtype=np.int64)
    if len(masks_MHW) == 0:
        return shown_HW
    boxes_M4 = boxes_of(masks_MHW)
    areas_M = (boxes_M4[:, 2] - boxes_M4[:, 0]) * (boxes_M4[:, 3] - boxes_M4[:, 1])
    for mask in np.argsort(-areas_M, kind="stable"):
        shown_HW[masks_MHW[mask]] = mask
    return shown_HW


def fuse(
    masks_MHW: np.ndarray,
    categories_M: np.ndarray,
    dense_HW: np.ndarray,
    *,
    thing_clusters: int,
    fusion: Fusion,
    stuff_overlap_max: float,
    thing_like: np.ndarray,
) -> Fused:
    """The panoptic pseudo-label of one image (U2Seg, section 3.2; rules in `panoptic_pseudo_labels`).

    `thing_like` bool [K_S]: dense clusters whose pixels outside instances are ignored in training.
    """
    height, width = dense_HW.shape
    shown_HW = paint(masks_MHW, height, width)
    covered_HW = shown_HW >= 0
    panoptic_HW = np.zeros((height, width), dtype=np.int32)
    semantic_HW = np.full((height, width), VOID, dtype=np.uint8)
    semantic_HW[covered_HW] = 0
    segments: list[tuple[int, int, bool, int]] = []
    for mask in np.unique(shown_HW[covered_HW]):
        pixels_HW = shown_HW == mask
        segments.append((len(segments) + 1, int(categories_M[mask]), True, int(pixels_HW.sum())))
        panoptic_HW[pixels_HW] = len(segments)
    for cluster in np.unique(dense_HW[dense_HW >= 0]):
        pixels_HW = dense_HW == cluster
        free_HW = pixels_HW & ~covered_HW
        covered_share = 1 - free_HW.sum() / pixels_HW.sum()
        if not free_HW.any() or (fusion == "painted" and covered_share > stuff_overlap_max):
            continue
        if not thing_like[cluster]:
            semantic_HW[free_HW] = cluster + 1
        if fusion == "painted":
            segments.append((len(segments) + 1, thing_clusters + int(cluster), False, int(free_HW.sum())))
            panoptic_HW[free_HW] = len(segments)
    return Fused(panoptic_HW, semantic_HW, segments)


def share_inside(masks_MHW: np.ndarray, owner_M: np.ndarray, dense_nHW: np.ndarray, stuff_clusters: int) -> np.ndarray:
    """Share of the pixels of every dense cluster that lie inside a mask, float64 [K_S], over all images given."""
    inside, total = np.zeros(stuff_clusters), np.zeros(stuff_clusters)
    for image, dense_HW in enumerate(dense_nHW):
        covered_HW = np.asarray(masks_MHW[owner_M == image]).any(axis=0)
        total += np.bincount(dense_HW[dense_HW >= 0], minlength=stuff_clusters)
        inside += np.bincount(dense_HW[covered_HW & (dense_HW >= 0)], minlength=stuff_clusters)
    return inside / np.maximum(total, 1)
