"""Features averaged inside super-voxels, and labels copied back.

Shape legend: P points, D dimensions, S super-voxels.
"""

from __future__ import annotations

import numpy as np

from tasks.vectors import unit


def pooled_directions(x_PD: np.ndarray, group_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit means float64 [S, D] of the unit rows of each group, and the groups int64 [S] present.

    Normalised twice: rows before the mean, so that long ones do not dominate, and means after it.
    """
    groups, of_point = np.unique(group_P, return_inverse=True)
    columns = unit(x_PD).T
    sums = np.column_stack([np.bincount(of_point, column, minlength=len(groups)) for column in columns])
    return unit(sums / np.bincount(of_point)[:, None]), groups


def units_to_cluster(x_PD: np.ndarray, group_P: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """What is clustered: directions of super-voxels (or, without groups, of points), and the unit int64 [P] of every point."""
    if group_P is None:
        return unit(x_PD), np.arange(len(x_PD))
    pooled, groups = pooled_directions(x_PD, group_P)
    return pooled, np.searchsorted(groups, group_P)
