"""Hand-made dense features of colour and texture, for tests and as a floor to learnt ones.

Shape legend: n images, H, W pixels.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

_WINDOWS = (3, 9)


def filter_bank(images_nHW3: np.ndarray) -> np.ndarray:
    """Float32 [n, H, W, 14] of images in 0..1: in windows of 3 and 9 pixels the mean and the deviation of every colour, and
    the energy of the gradient of their mean."""
    grey = images_nHW3.mean(axis=3)
    energy = np.gradient(grey, axis=1) ** 2 + np.gradient(grey, axis=2) ** 2
    parts = []
    for window in _WINDOWS:
        colour_window = (0, window, window, 0)
        mean = _local_mean(images_nHW3, colour_window)
        square = _local_mean(images_nHW3**2, colour_window)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        parts += [mean, deviation, np.sqrt(_local_mean(energy, (0, window, window)))[..., None]]
    return np.concatenate(parts, axis=3).astype(np.float32)


def _local_mean(x: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    return uniform_filter(x.astype(np.float64), tuple(max(side, 1) for side in window))  # type: ignore[arg-type]
