"""Soft masks from a foreground likelihood, and the label-free score that ranks them.

Shape legend: T frames of a clip, H, W pixels.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from tasks.video.background import normalise, per_frame, project
from tasks.video.colour_model import blurred, foreground_likelihood, seeded_histograms

_WITHIN_FRAMES = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])  # 8-connected, never across frames
_REFINE_COMPONENTS = 8


def hysteresis(u_THW: np.ndarray, high: float, low: float) -> np.ndarray:
    """Boolean [T, H, W]: the 8-connected components of u > low within a frame that hold a pixel with u > high."""
    parts_THW = np.zeros(u_THW.shape, dtype=np.int32)
    count = int(label(u_THW > low, _WITHIN_FRAMES, output=parts_THW))  # type: ignore[arg-type]
    strong = np.zeros(count + 1, dtype=bool)
    strong[np.unique(parts_THW[u_THW > high])] = True
    strong[0] = False
    return strong[parts_THW]


def soft_masks(likelihood_THW: np.ndarray, prior_HW: np.ndarray, *, blur: float, high: float, low: float) -> np.ndarray:
    """Masks float64 [T, H, W] in 0..1: the likelihood, kept where hysteresis on likelihood x prior says so."""
    smooth_THW = blurred(likelihood_THW, blur)
    kept_THW = hysteresis(per_frame(smooth_THW * prior_HW), high, low)
    return per_frame(kept_THW * smooth_THW)


def refined_likelihood(masks_THW: np.ndarray, codes_THW: np.ndarray, bins: int) -> np.ndarray:
    """The colour model once more, with the masks' own leading 8 components as seeds (HPP, second step)."""
    flat = masks_THW.reshape(len(masks_THW), -1)
    _, smooth = project(flat, min(_REFINE_COMPONENTS, len(flat)))
    seeds_THW = normalise(smooth).reshape(masks_THW.shape) > 0.5
    return foreground_likelihood(codes_THW, *seeded_histograms(codes_THW, seeds_THW, bins))


def mean_nonzero(masks_THW: np.ndarray) -> np.ndarray:
    """Mean [T] of the non-zero pixels of each mask; 0 for an empty one."""
    count_T = (masks_THW > 0).sum(axis=(1, 2))
    return masks_THW.sum(axis=(1, 2)) / np.maximum(count_T, 1)


def best_frames(
    score_N: np.ndarray, group_N: np.ndarray, keep: float, most_per_group: int | None, order_N: np.ndarray
) -> np.ndarray:
    """Boolean [N]: the share `keep` of all frames (at least one), in the order `order_N`, never an empty mask (score 0).

    Raises ValueError if every mask is empty.
    """
    if not (score_N > 0).any():
        raise ValueError(
            "masks: not one has a positive pixel; lower 'hysteresis' or use clips in which something moves"
        )
    wanted, taken, selected_N = max(1, round(keep * len(score_N))), {}, np.zeros(len(score_N), dtype=bool)
    for frame in order_N:
        group = int(group_N[frame])
        full = most_per_group is not None and taken.get(group, 0) >= most_per_group
        if wanted > 0 and score_N[frame] > 0 and not full:
            selected_N[frame] = True
            taken[group] = taken.get(group, 0) + 1
            wanted -= 1
    return selected_N
