"""Sparse voxel grids: which voxels are occupied, which are neighbours, and what a point finds around it.

Coordinates are whole numbers >= 0 in units of the level's voxel, with the scene in front. Shape legend: N points, M voxels,
E pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from tasks.scenes3d.voxels import NUDGE

_PAD = 2  # room for the widest kernel (5) on every side, so that neighbours never wrap around
_TABLE_MAX = 2**25
Pairs = list[tuple[torch.Tensor, torch.Tensor]]  # (outputs, inputs) int64 [E] per kernel offset


@dataclass(frozen=True)
class Level:
    """Occupied voxels int64 [M, 4] (scene, x, y, z) in ascending order; `stride`: their side in voxels of the first level."""

    cells_M4: np.ndarray
    stride: int

    @cached_property
    def sides(self) -> np.ndarray:
        return self.cells_M4[:, 1:].max(axis=0) + 1 + 2 * _PAD

    def keys(self, cells_X4: np.ndarray) -> np.ndarray:
        """One number per cell, from -2 to 2 beyond the largest coordinate."""
        _, y, z = (int(side) for side in self.sides)
        x_ = cells_X4[:, 0] * int(self.sides[0]) + cells_X4[:, 1] + _PAD
        return (x_ * y + cells_X4[:, 2] + _PAD) * z + cells_X4[:, 3] + _PAD

    @cached_property
    def _own(self) -> np.ndarray:
        return self.keys(self.cells_M4)

    @cached_property
    def _table(self) -> np.ndarray | None:
        """Voxel of every key, -1 for none; None where the grid is too large to write out."""
        total = int((self.cells_M4[:, 0].max() + 1) * np.prod(self.sides))
        if total > _TABLE_MAX:
            return None
        table = np.full(total, -1, dtype=np.int32)
        table[self._own] = np.arange(len(self._own))
        return table

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Index of the voxel with each key, -1 for an empty one."""
        if self._table is not None:
            return self._table[keys].astype(np.int64)
        place = np.minimum(np.searchsorted(self._own, keys), len(self._own) - 1)
        return np.where(self._own[place] == keys, place, -1)

    def neighbours(self, side: int) -> Pairs:
        """Pairs of a submanifold convolution (Graham et al., CVPR 2018): for every offset of a `side`^3 kernel, in the
        order of its flattened weights, the voxels that have an occupied neighbour there, and that neighbour."""
        half = side // 2
        _, y, z = (int(s) for s in self.sides)
        pairs: Pairs = []
        for dx in range(-half, half + 1):
            for dy in range(-half, half + 1):
                for dz in range(-half, half + 1):
                    if len(pairs) == side**3 // 2:
                        every = torch.arange(len(self._own))
                        pairs.append((every, every))
                    elif len(pairs) > side**3 // 2:
                        # The opposite offset holds the same pairs the other way round.
                        out, into = pairs[side**3 - 1 - len(pairs)]
                        pairs.append((into, out))
                    else:
                        found = self.find(self._own + (dx * y + dy) * z + dz)
                        here = np.flatnonzero(found >= 0)
                        pairs.append((torch.from_numpy(here), torch.from_numpy(found[here])))
        return pairs

    def halved(self) -> tuple[Level, Pairs]:
        """The level of twice the voxel side, and the pairs of a convolution of kernel 2 and stride 2 onto it."""
        cells = self.cells_M4.copy()
        cells[:, 1:] //= 2
        slot = ((self.cells_M4[:, 1] % 2) * 2 + self.cells_M4[:, 2] % 2) * 2 + self.cells_M4[:, 3] % 2
        coarse, parent = unique_cells(cells)
        pairs = []
        for number in range(8):
            child = np.flatnonzero(slot == number)
            pairs.append((torch.from_numpy(parent[child]), torch.from_numpy(child)))
        return Level(coarse, 2 * self.stride), pairs

    def interpolation(self, points_N3: np.ndarray, scene_N: np.ndarray) -> torch.Tensor:
        """Sparse float32 [N, M]: trilinear weights of the voxels around points (in voxels of the first level), from their
        centres; empty voxels have none, and the rest sums to 1. A point must lie in an occupied voxel."""
        place = points_N3 / self.stride - 0.5
        base = np.floor(place).astype(np.int64)
        share = place - base
        rows, columns, weights = [], [], []
        for corner in range(8):
            step = np.array([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
            weight = np.prod(np.where(step == 1, share, 1 - share), axis=1)
            found = self.find(self.keys(np.column_stack([scene_N, base + step])))
            there = np.flatnonzero((found >= 0) & (weight > 0))
            rows.append(there)
            columns.append(found[there])
            weights.append(weight[there])
        row, column, weight = (np.concatenate(parts) for parts in (rows, columns, weights))
        total = np.bincount(row, weight, minlength=len(points_N3))
        if (total == 0).any():
            raise ValueError(f"point {int((total == 0).argmax())} lies in no occupied voxel")
        order = np.lexsort((column, row))
        indices = torch.from_numpy(np.stack([row[order], column[order]]))
        values = torch.from_numpy((weight / total[row])[order].astype(np.float32))
        return torch.sparse_coo_tensor(
            indices, values, (len(points_N3), len(self.cells_M4)), is_coalesced=True, check_invariants=False
        )


def unique_cells(cells_N4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct cells [M, 4] in ascending order, and the cell int64 [N] of every row."""
    sides = cells_N4.max(axis=0) + 1
    key = ((cells_N4[:, 0] * sides[1] + cells_N4[:, 1]) * sides[2] + cells_N4[:, 2]) * sides[3] + cells_N4[:, 3]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return cells_N4[first], inverse


@dataclass(frozen=True)
class Pyramid:
    """Everything about a batch of clouds that geometry alone decides: pairs for the first, wide convolution, and per level
    those of the convolutions and the interpolation to the points."""

    voxel_of_N: torch.Tensor
    count_M: torch.Tensor
    wide: Pairs
    down: list[Pairs]
    same: list[Pairs]
    to_points: list[torch.Tensor]


def pyramid(points_N3: np.ndarray, scene_N: np.ndarray, levels: int) -> Pyramid:
    """Grids of `levels` halvings for points in units of the finest voxel; several points may share a voxel.

    Raises ValueError for no points, or coordinates that are not finite.
    """
    if len(points_N3) == 0:
        raise ValueError("points: an empty cloud")
    if not np.isfinite(points_N3).all():
        raise ValueError("points: coordinates are NaN or infinite")
    shifted = points_N3 + NUDGE
    shifted = shifted - np.floor(shifted.min(axis=0))
    cells, voxel_of = unique_cells(np.column_stack([scene_N, np.floor(shifted).astype(np.int64)]))
    level = Level(cells, 1)
    wide = level.neighbours(5)
    down, same, to_points = [], [], []
    for _ in range(levels):
        level, pairs = level.halved()
        down.append(pairs)
        same.append(level.neighbours(3))
        to_points.append(level.interpolation(shifted, scene_N))
    count = torch.from_numpy(np.bincount(voxel_of).astype(np.float32))
    return Pyramid(torch.from_numpy(voxel_of), count, wide, down, same, to_points)
