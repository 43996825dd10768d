"""Boxes and overlaps of binary masks.

Shape legend: M, N masks, H, W pixels.
"""

import numpy as np


def boxes_of(masks_MHW: np.ndarray) -> np.ndarray:
    """Tight boxes int64 [M, 4] as (top, left, bottom, right), the last two exclusive; zeros for an empty mask."""
    rows_MH: np.ndarray = np.any(masks_MHW, axis=2)
    columns_MW: np.ndarray = np.any(masks_MHW, axis=1)
    top, left = rows_MH.argmax(axis=1), columns_MW.argmax(axis=1)
    bottom = rows_MH.shape[1] - rows_MH[:, ::-1].argmax(axis=1)
    right = columns_MW.shape[1] - columns_MW[:, ::-1].argmax(axis=1)
    return np.stack([top, left, bottom, right], axis=1) * rows_MH.any(axis=1, keepdims=True)


def box_iou(a_M4: np.ndarray, b_N4: np.ndarray) -> np.ndarray:
    """IoU float64 [M, N] of boxes (top, left, bottom, right); 0 where the union is empty."""
    low = np.maximum(a_M4[:, None, :2], b_N4[None, :, :2])
    high = np.minimum(a_M4[:, None, 2:], b_N4[None, :, 2:])
    shared_MN = np.clip(high - low, 0, None).prod(axis=2).astype(np.float64)
    area_M, area_N = _box_area(a_M4), _box_area(b_N4)
    union_MN = area_M[:, None] + area_N[None, :] - shared_MN
    return np.divide(shared_MN, union_MN, out=np.zeros_like(shared_MN), where=union_MN > 0)


def mask_overlaps(a_MHW: np.ndarray, b_NHW: np.ndarray) -> np.ndarray:
    """Pixels float64 [M, N] that two sets of masks share."""
    a_MP = a_MHW.reshape(len(a_MHW), -1).astype(np.float32)
    b_NP = b_NHW.reshape(len(b_NHW), -1).astype(np.float32)
    return (a_MP @ b_NP.T).astype(np.float64)


def mask_iou(a_MHW: np.ndarray, b_NHW: np.ndarray) -> np.ndarray:
    """IoU float64 [M, N] of masks; 0 where the union is empty."""
    shared_MN = mask_overlaps(a_MHW, b_NHW)
    union_MN = a_MHW.sum(axis=(1, 2))[:, None] + b_NHW.sum(axis=(1, 2))[None, :] - shared_MN
    return np.divide(shared_MN, union_MN, out=np.zeros_like(shared_MN), where=union_MN > 0)


def instances_of(instance_HW: np.ndarray) -> np.ndarray:
    """One mask per object of an instance map (0: none), bool [N, H, W] in the order of their numbers."""
    numbers = np.unique(instance_HW)
    return instance_HW[None] == numbers[numbers > 0][:, None, None]


def _box_area(boxes_M4: np.ndarray) -> np.ndarray:
    return ((boxes_M4[:, 2] - boxes_M4[:, 0]) * (boxes_M4[:, 3] - boxes_M4[:, 1])).astype(np.float64)
