"""Pinhole cameras and what they see of solids.

OpenCV axes (x right, y down, z forward); `c2w` [3, 4] has the camera's axes as columns and the eye; pixel centres at
+0.5. Distances are along the unit ray, not along z. Shape legend: V views, H, W pixels, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.scenes3d.primitives import Primitive, colour_at, hit

_LIGHT = np.array([0.4, 0.3, 0.85]) / np.linalg.norm([0.4, 0.3, 0.85])


@dataclass(frozen=True)
class View:
    """What one camera sees: `colour` [H, W, 3] in 0..1, `distance` [H, W] (inf: nothing), `solid` int [H, W] (index, -1:
    none), `normal` [H, W, 3] facing the camera, `point` [H, W, 3] in the world."""

    colour: np.ndarray
    distance: np.ndarray
    solid: np.ndarray
    normal: np.ndarray
    point: np.ndarray


def intrinsics(height: int, width: int, fov: float) -> np.ndarray:
    """Camera matrix K [3, 3] from the horizontal field of view in radians."""
    f = 0.5 * width / np.tan(fov / 2)
    return np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1]])


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`c2w` [3, 4] of a camera at `eye` that looks at `target`, upright."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    return np.column_stack([right, np.cross(forward, right), forward, eye])


def rays(c2w: np.ndarray, k: np.ndarray, height: int, width: int) -> np.ndarray:
    """Unit directions [H * W, 3] in the world through the pixel centres, row by row."""
    v, u = np.mgrid[:height, :width] + 0.5
    local = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], axis=-1).reshape(-1, 3)
    world = local @ c2w[:, :3].T
    return world / np.linalg.norm(world, axis=1, keepdims=True)


def project(points_N3: np.ndarray, c2w: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (u, v) [N, 2] and distance to the eye [N]; NaN coordinates behind the camera."""
    relative = points_N3 - c2w[:, 3]
    local = relative @ c2w[:, :3]
    depth = np.where(local[:, 2] > 1e-9, local[:, 2], np.nan)
    u = k[0, 0] * local[:, 0] / depth + k[0, 2]
    v = k[1, 1] * local[:, 1] / depth + k[1, 2]
    return np.column_stack([u, v]), np.linalg.norm(relative, axis=1)


def render(solids: list[Primitive], c2w: np.ndarray, k: np.ndarray, height: int, width: int) -> View:
    """Cast one ray per pixel; the nearest solid wins, and colour is its texture x (0.35 + 0.65 |n . light|)."""
    if not solids:
        raise ValueError("scene: it has no solids")
    directions = rays(c2w, k, height, width)
    origins = np.broadcast_to(c2w[:, 3], directions.shape)
    best, which = np.full(len(directions), np.inf), np.full(len(directions), -1)
    normal, local = np.zeros_like(directions), np.zeros_like(directions)
    for index, solid in enumerate(solids):
        t, normal_here, local_here = hit(solid, origins, directions)
        nearer = t < best
        best[nearer], which[nearer] = t[nearer], index
        normal[nearer], local[nearer] = normal_here[nearer], local_here[nearer]
    colour = np.ones_like(directions)
    for index in np.unique(which[which >= 0]):
        mine = which == index
        shade = 0.35 + 0.65 * np.abs(normal[mine] @ _LIGHT)
        colour[mine] = colour_at(solids[index], local[mine]) * shade[:, None]
    point = origins + np.where(np.isfinite(best), best, 0)[:, None] * directions
    shape = (height, width)
    return View(
        colour.reshape(*shape, 3),
        best.reshape(shape),
        which.reshape(shape),
        normal.reshape(*shape, 3),
        point.reshape(*shape, 3),
    )
