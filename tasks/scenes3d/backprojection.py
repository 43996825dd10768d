"""Features of images brought to points: projection into every view that sees a point, and the mean over views.

Shape legend: V views, H, W pixels, h, w grid of features, N points, D features.
"""

from __future__ import annotations

import numpy as np

from tasks.scenes3d.cameras import project


def visible(
    points_N3: np.ndarray, c2w: np.ndarray, k: np.ndarray, distance_HW: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (u, v) float64 [N, 2] and whether a view sees each point: it projects into the image, and its
    distance to the eye differs from that of the pixel by at most `tolerance` metres (0: the pixel saw nothing)."""
    uv_N2, own_N = project(points_N3, c2w, k)
    height, width = distance_HW.shape
    inside = (uv_N2[:, 0] >= 0) & (uv_N2[:, 0] < width) & (uv_N2[:, 1] >= 0) & (uv_N2[:, 1] < height)
    column, row = (np.where(inside, uv_N2[:, i], 0).astype(np.int64) for i in (0, 1))
    seen = distance_HW[row, column]
    return uv_N2, inside & (seen > 0) & (np.abs(seen - own_N) <= tolerance)


def bilinear(grid_hwD: np.ndarray, uv_N2: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Features [N, D] at pixel coordinates of an image of `size` (H, W), between the centres of the grid's cells."""
    height, width = grid_hwD.shape[:2]
    y = np.clip(uv_N2[:, 1] * height / size[0] - 0.5, 0, height - 1)
    x = np.clip(uv_N2[:, 0] * width / size[1] - 0.5, 0, width - 1)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    a, b = (y - top)[:, None], (x - left)[:, None]
    upper = grid_hwD[top, left] * (1 - b) + grid_hwD[top, right] * b
    lower = grid_hwD[down, left] * (1 - b) + grid_hwD[down, right] * b
    return upper * (1 - a) + lower * a


def backproject_features(
    points_N3: np.ndarray,
    features_VhwD: np.ndarray,
    c2w_V34: np.ndarray,
    k: np.ndarray,
    distance_VHW: np.ndarray,
    *,
    tolerance: float,
    views: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean features float32 [N, D] over the views that see each point (zero where none does), and whether any does [N].

    `views`: use the first that many; None: all. Raises ValueError if no view sees any point.
    """
    total = np.zeros((len(points_N3), features_VhwD.shape[-1]))
    count = np.zeros(len(points_N3))
    size = (distance_VHW.shape[1], distance_VHW.shape[2])
    for view in range(len(c2w_V34) if views is None else min(views, len(c2w_V34))):
        camera = np.asarray(c2w_V34[view], dtype=np.float64)
        uv_N2, seen = visible(points_N3, camera, np.asarray(k, dtype=np.float64), distance_VHW[view], tolerance)
        total[seen] += bilinear(np.asarray(features_VhwD[view]), uv_N2[seen], size)
        count[seen] += 1
    if not count.any():
        raise ValueError(
            "no view sees any of its points; check 'c2w', 'intrinsics' and 'distance', or raise the tolerance"
        )
    return (total / np.maximum(count, 1)[:, None]).astype(np.float32), count > 0
