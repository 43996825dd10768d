"""A colour model of foreground and background for a clip, from seeds that motion gives.

Shape legend: T frames of a clip, H, W pixels, B colour bins.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import rgb_to_hsv
from scipy.ndimage import gaussian_filter

from tasks.video.background import per_frame


def centre_prior(height: int, width: int, share: float) -> np.ndarray:
    """Gaussian float64 [H, W] around the middle, 1 at its peak, of deviation `share` x the shorter side."""
    sigma = share * min(height, width)
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None] - (width - 1) / 2
    return np.exp(-(y**2 + x**2) / (2 * sigma**2))


def blurred(x_THW: np.ndarray, sigma: float) -> np.ndarray:
    """Each frame under a Gaussian of `sigma` pixels; 0 leaves it as it is."""
    return gaussian_filter(x_THW, (0, sigma, sigma)) if sigma > 0 else x_THW


def motion_seeds(residual_THW: np.ndarray, blur: float, prior_HW: np.ndarray) -> np.ndarray:
    """Boolean [T, H, W]: where the blurred residual times the prior exceeds half of its range in the frame."""
    return per_frame(per_frame(blurred(residual_THW, blur)) * prior_HW) > 0.5


def colour_codes(frames_THWC: np.ndarray, bins: tuple[int, int, int]) -> np.ndarray:
    """Bin int64 [T, H, W] of every pixel, in 0..bins[0] * bins[1] * bins[2] - 1; frames RGB in 0..1.

    Hue is circular, so the first two coordinates are s cos h and s sin h, the third is the value v.
    """
    if frames_THWC.ndim < 1 or frames_THWC.shape[-1] != 3:
        raise ValueError(f"images: {frames_THWC.shape} has no three colour channels at its end")
    h, s, v = np.moveaxis(rgb_to_hsv(np.clip(frames_THWC, 0, 1)), -1, 0)
    angle = 2 * np.pi * h
    coordinates = ((s * np.cos(angle) + 1) / 2, (s * np.sin(angle) + 1) / 2, v)
    a, b, c = (np.round(x * (n - 1)).astype(np.int64) for x, n in zip(coordinates, bins, strict=True))
    return (a * bins[1] + b) * bins[2] + c


def seeded_histograms(codes: np.ndarray, seeds: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Histograms float64 [B] of the pixels inside and outside the seeds, each of sum 1 (of zeros without pixels)."""
    inside = np.bincount(codes[seeds], minlength=bins).astype(np.float64)
    outside = np.bincount(codes[~seeds], minlength=bins).astype(np.float64)
    return inside / max(inside.sum(), 1), outside / max(outside.sum(), 1)


def foreground_likelihood(codes: np.ndarray, inside_B: np.ndarray, outside_B: np.ndarray) -> np.ndarray:
    """P_f(c) / (P_f(c) + P_b(c)) of every pixel, 0 for a colour that neither histogram has."""
    total_B = inside_B + outside_B
    ratio_B = np.divide(inside_B, total_B, out=np.zeros_like(total_B), where=total_B > 0)
    return ratio_B[codes]
