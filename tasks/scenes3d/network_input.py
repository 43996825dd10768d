"""Batches of scenes as a sparse network takes them.

Shape legend: N points of the batch, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tasks.nn.sparse_fpn import SparseFpn
from tasks.nn.sparse_grid import Pyramid, pyramid
from tasks.scenes3d.augmentation import Motion, moved
from tasks.scenes3d.clouds import Clouds


@dataclass(frozen=True)
class SceneBatch:
    """`rows` int64 [N] in the data set; `inputs` float32 [N, 6]: rgb - 0.5, then xyz centred in x and y, in metres."""

    rows: np.ndarray
    inputs: torch.Tensor
    grid: Pyramid


def scene_batch(
    clouds: Clouds, scenes: np.ndarray, voxel: float, levels: int, motion: Motion | None, rng: np.random.Generator
) -> SceneBatch:
    """Some scenes side by side, each under a motion of its own."""
    rows = [clouds.rows(int(scene)) for scene in scenes]
    points = [moved(clouds.points[r], motion, voxel, rng) for r in rows]
    every, xyz = np.concatenate(rows), np.concatenate(points)
    number = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    # Shifts beyond a voxel only move the grid; the network is told the position without them.
    origin = np.array([[*p[:, :2].mean(axis=0), p[:, 2].min()] for p in points])
    inputs = np.concatenate([clouds.rgb[every] - 0.5, xyz - origin[number]], axis=1)
    cells = xyz / voxel
    for index in range(len(rows)):  # every scene starts at the grid's origin, with its place within a voxel kept
        mine = number == index
        cells[mine] -= np.floor(cells[mine].min(axis=0))
    return SceneBatch(every, torch.from_numpy(inputs.astype(np.float32)), pyramid(cells, number, levels))


@torch.no_grad()
def point_features(
    network: SparseFpn,
    clouds: Clouds,
    scenes: np.ndarray,
    voxel: float,
    motion: Motion | None,
    rng: np.random.Generator,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 [N] of the points of some scenes and their features float32 [N, D], one scene at a time, in evaluation
    mode; the network is left in the mode it was in."""
    was_training = network.training
    network.eval()
    rows, features = [], []
    for scene in scenes:
        batch = scene_batch(clouds, np.array([scene]), voxel, len(network.settings.channels), motion, rng)
        rows.append(batch.rows)
        features.append(network(batch.inputs.to(device), to_device(batch.grid, device)).cpu().numpy())
    network.train(was_training)
    return np.concatenate(rows), np.concatenate(features)


def to_device(grid: Pyramid, device: str) -> Pyramid:
    """The same grid with its tensors on `device`."""
    if device == "cpu":
        return grid

    def pairs(list_of_pairs):
        return [(a.to(device), b.to(device)) for a, b in list_of_pairs]

    return Pyramid(
        grid.voxel_of_N.to(device),
        grid.count_M.to(device),
        pairs(grid.wide),
        [pairs(p) for p in grid.down],
        [pairs(p) for p in grid.same],
        [m.to(device) for m in grid.to_points],
    )
