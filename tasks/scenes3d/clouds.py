"""Point clouds of a data set, scene by scene.

Shape legend: n scenes, P points of all scenes, N points of one scene, S super-voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.artifacts import Dataset

_NEEDED = ("points", "rgb", "normals", "scene")


@dataclass(frozen=True)
class Clouds:
    """Points float32 [P, 3] in metres with rgb in 0..1, unit normals, and the scene int64 [P] of each."""

    points: np.ndarray
    rgb: np.ndarray
    normals: np.ndarray
    scene: np.ndarray

    def rows(self, scene: int) -> np.ndarray:
        """Indices int64 [N] of the points of one scene."""
        return np.flatnonzero(self.scene == scene)


def clouds_of(dataset: Dataset) -> Clouds:
    """The clouds of a data set. ValueError: no points, arrays of different length, a scene that is empty or has
    coordinates that are not finite."""
    for name in _NEEDED:
        if name not in dataset.arrays:
            raise ValueError(f"dataset: array '{name}' is needed and absent; use 'scenes3d_rooms' or 'point_clouds'")
    points, rgb, normals, scene = (np.asarray(dataset.arrays[name]) for name in _NEEDED)
    if not len(points) == len(rgb) == len(normals) == len(scene):
        raise ValueError("dataset: 'points', 'rgb', 'normals' and 'scene' have different lengths")
    counts = np.bincount(scene, minlength=len(dataset.samples))
    if (counts == 0).any():
        raise ValueError(f"dataset: scene {int((counts == 0).argmax())} has no points")
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise ValueError(f"dataset: scene {int(scene[bad.argmax()])} has coordinates that are NaN or infinite")
    return Clouds(points, rgb, normals, scene)


def supervoxels_of(dataset: Dataset) -> np.ndarray:
    """Super-voxel int64 [P] of every point, 0..S-1; ValueError if there are none, or one reaches over two scenes."""
    if "supervoxel" not in dataset.arrays:
        raise ValueError("dataset: array 'supervoxel' is needed and absent; use pool 'none'")
    group, scene = np.asarray(dataset.arrays["supervoxel"]), np.asarray(dataset.arrays["scene"])
    first = np.zeros(int(group.max()) + 1, dtype=np.int64)
    first[group] = scene
    if (first[group] != scene).any():
        raise ValueError(f"dataset: super-voxel {int(group[(first[group] != scene).argmax()])} reaches over two scenes")
    return group


def points_in(dataset: Dataset, split: str) -> np.ndarray:
    """Indices int64 of the points whose scene is in a split; ValueError if it has no scene."""
    return np.flatnonzero(np.isin(np.asarray(dataset.arrays["scene"]), dataset.rows(split)))
