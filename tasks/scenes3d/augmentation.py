"""Random motions of a cloud before it is put on the voxel grid."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Motion(BaseModel):
    """Rotation about z by up to +-`turn` degrees, about x and y by up to +-`tilt` degrees, a shift of up to `shift` voxels
    and a scale, all uniform. `clustering`: clouds are moved when they are clustered, too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    turn: Annotated[float, Field(ge=0, le=180)] = 180.0
    tilt: Annotated[float, Field(ge=0, le=90)] = 5.625
    shift: Annotated[float, Field(ge=0)] = 50.0
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.9, 1.1]
    clustering: bool = True


def moved(points_N3: np.ndarray, motion: Motion | None, voxel: float, rng: np.random.Generator) -> np.ndarray:
    """The points, centred in x and y, under one random motion (None: only centred)."""
    centre = points_N3.mean(axis=0, dtype=np.float64)
    points = points_N3 - [centre[0], centre[1], 0]
    if motion is None:
        return points
    limits = np.deg2rad([motion.tilt, motion.tilt, motion.turn])
    about_x, about_y, about_z = rng.uniform(-limits, limits)
    turn = _rotation(2, about_z) @ _rotation(1, about_y) @ _rotation(0, about_x)
    scale = rng.uniform(motion.scale[0], motion.scale[1])
    return points @ turn.T * scale + rng.uniform(0, motion.shift, 3) * voxel


def _rotation(axis: int, angle: float) -> np.ndarray:
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix
