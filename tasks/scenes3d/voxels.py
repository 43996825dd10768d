"""Hit points of several views as one point cloud with a point per occupied voxel.

Shape legend: M hits, N points.
"""

from __future__ import annotations

import numpy as np

# In voxels: a plane at a multiple of the voxel side is one layer of voxels, whatever rounding says.
NUDGE = 1e-4


def occupied_voxels(points_M3: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean position [N, 3] of the hits in every occupied voxel of side `voxel`, the first hit int64 [N] in each, and the
    voxel int64 [M] of every hit. Voxels in ascending order of their coordinates.

    Raises ValueError for no points or coordinates that are not finite.
    """
    if len(points_M3) == 0:
        raise ValueError("scene: it has no points")
    if not np.isfinite(points_M3).all():
        raise ValueError("scene: coordinates are NaN or infinite")
    cells = np.floor(points_M3 / voxel + NUDGE).astype(np.int64)
    cells -= cells.min(axis=0)
    sides = cells.max(axis=0) + 1
    key = (cells[:, 0] * sides[1] + cells[:, 1]) * sides[2] + cells[:, 2]
    _, first, of_hit = np.unique(key, return_index=True, return_inverse=True)
    total = np.bincount(of_hit)
    mean = np.column_stack([np.bincount(of_hit, points_M3[:, axis]) / total for axis in range(3)])
    return mean, first, of_hit
