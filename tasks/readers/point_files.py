"""Point clouds in files: PLY (ScanNet, S3DIS exports) and npz, with one set of names.

Shape legend: N points, V views, H, W pixels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from tasks.readers.paths import entries, reading
from tasks.readers.ply import read_vertices

SUFFIXES = (".ply", ".npz")
VIEW_ARRAYS = {"images": 4, "c2w": 3, "intrinsics": 2, "distance": 3}
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_LABELS = ("label", "class", "scalar_Label", "scalar_label")


def cloud_files(folder: Path) -> list[Path]:
    """Files of clouds directly in `folder`, in the order of their names."""
    return [entry for entry in entries(folder) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def read_cloud(path: Path) -> dict[str, np.ndarray]:
    """`points` [N, 3], and what there is of `rgb` [N, 3] in 0..1, `normals` [N, 3], `labels` int64 [N], `supervoxel` int64
    [N], and (npz) of the views: `images`, `c2w`, `intrinsics`, `distance`.

    Raises ValueError naming the file: damaged, no points, arrays that do not fit, coordinates that are not finite.
    """
    cloud = _from_ply(path) if path.suffix.lower() == ".ply" else _from_npz(path)
    count = len(cloud["points"])
    for name in ("points", "rgb", "normals"):
        if name in cloud and cloud[name].shape != (count, 3):
            raise ValueError(f"path: {path}: '{name}' is {cloud[name].shape}, expected ({count}, 3)")
    for name in ("labels", "supervoxel"):
        if name in cloud and cloud[name].shape != (count,):
            raise ValueError(f"path: {path}: '{name}' is {cloud[name].shape}, expected ({count},)")
    if count == 0:
        raise ValueError(f"path: {path} has no points; delete it")
    for name in ("points", "rgb", "normals"):
        if name in cloud and not np.isfinite(cloud[name]).all():
            raise ValueError(f"path: {path}: '{name}' holds NaN or infinite values; correct or delete it")
    for name, dimensions in VIEW_ARRAYS.items():
        if name in cloud and cloud[name].ndim != dimensions:
            raise ValueError(f"path: {path}: '{name}' is {cloud[name].shape}, expected {dimensions} dimensions")
    return cloud


def _from_ply(path: Path) -> dict[str, np.ndarray]:
    vertices = read_vertices(path)
    missing = [name for name in "xyz" if name not in vertices]
    if missing:
        raise ValueError(f"path: {path} has vertices without '{missing[0]}'; they have {', '.join(vertices)}")
    cloud: dict[str, np.ndarray] = {"points": np.column_stack([vertices[name] for name in "xyz"]).astype(np.float64)}
    for names in _COLOURS:
        if all(name in vertices for name in names):
            cloud["rgb"] = _unit_colours(np.column_stack([vertices[name] for name in names]))
            break
    if all(name in vertices for name in ("nx", "ny", "nz")):
        cloud["normals"] = np.column_stack([vertices[name] for name in ("nx", "ny", "nz")]).astype(np.float64)
    for name in _LABELS:
        if name in vertices:
            cloud["labels"] = vertices[name].astype(np.int64)
            break
    return cloud


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    known = {"points", "rgb", "normals", "labels", "supervoxel", *VIEW_ARRAYS}
    with reading(path):
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                cloud = {name: archive[name] for name in archive.files if name in known}
        except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
            if isinstance(error, (FileNotFoundError, PermissionError)):
                raise
            raise ValueError(
                f"path: {path} is damaged, cut short or pickled ({error}); restore or delete it"
            ) from error
    if "points" not in cloud:
        raise ValueError(f"path: {path} has no array 'points'; write x, y, z as 'points' [N, 3]")
    if "rgb" in cloud:
        cloud["rgb"] = _unit_colours(cloud["rgb"])
    for name in ("labels", "supervoxel"):
        if name in cloud:
            cloud[name] = cloud[name].astype(np.int64)
    return {**cloud, "points": cloud["points"].astype(np.float64)}


def _unit_colours(colours: np.ndarray) -> np.ndarray:
    """Colours in 0..1: whole numbers are divided by 255."""
    return colours.astype(np.float64) / (255 if np.issubdtype(colours.dtype, np.integer) else 1)
