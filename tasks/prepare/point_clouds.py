"""Files of point clouds, one per scene: PLY or npz, with or without labels and posed views.

Shape legend: n scenes, V views, H, W pixels, P points of all scenes.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder
from tasks.readers.point_files import VIEW_ARRAYS, cloud_files, read_cloud
from tasks.readers.selection import Limit, TestShare, choose_samples
from tasks.scenes3d.supervoxels import estimated_normals, graph_supervoxels
from tasks.scenes3d.voxels import occupied_voxels

_GREY = 0.5


def point_clouds(
    *,
    path: str,
    voxel: Annotated[float, Field(gt=0)],
    class_names: list[str] | None = None,
    test_share: TestShare | None = None,
    limit: Limit | None = None,
    seed: int = 0,
) -> Dataset:
    """Scenes as files in `path/train` and `path/test`, or directly in `path` (then all are `train`).

    PLY: vertices with x, y, z and, if present, red, green, blue (whole numbers 0..255 or floats 0..1), nx, ny, nz, label.
    npz: `points` [N, 3] and, if present, `rgb`, `normals` [N, 3], `labels`, `supervoxel` [N], and the views `images`
    [V, H, W, 3], `c2w` [V, 3, 4], `intrinsics` [3, 3], `distance` [V, H, W]. Points are put on a voxel grid: one point per
    occupied voxel at the mean position, with what its first point has. Missing normals are estimated from neighbours,
    missing super-voxels by graph merging, missing colours are grey.

    Parameters
    ----------
    path: the folder, relative to the workspace. voxel: side of the grid in the files' unit (metres).
    class_names: names of labels 0, 1, ...; default the numbers. Labels below 0 or beyond the names are not scored.
    test_share: share of the scenes that becomes split `test`. limit: most scenes per split, drawn with `seed`.
    seed: seed of all draws.

    Returns `points`, `rgb`, `normals` float32 [P, 3], `scene`, `supervoxel` int64 [P] and, if every file has them, the truth
    `point_label` int64 [P] (-1: not scored) and the views, by scene.

    Raises FileNotFoundError or ValueError naming the file: missing, damaged, empty, labels or views in some files only.
    """
    folder = existing_folder(path)
    files, splits = _files(folder)
    rows, samples = choose_samples(splits, None, source=folder, test_share=test_share, limit=limit, seed=seed)
    chosen = [files[row] for row in rows]
    parts: dict[str, list[np.ndarray]] = {}
    segments = 0
    for scene, file in enumerate(chosen):
        cloud = read_cloud(file)
        points, first, _ = occupied_voxels(cloud["points"], voxel)
        normals = cloud["normals"][first] if "normals" in cloud else estimated_normals(points)
        rgb = cloud["rgb"][first] if "rgb" in cloud else np.full((len(points), 3), _GREY)
        if "supervoxel" in cloud:
            group = np.unique(cloud["supervoxel"][first], return_inverse=True)[1]
        else:
            group = graph_supervoxels(points, rgb, normals)
        found = {"points": points, "rgb": rgb, "normals": normals}
        for name, value in found.items():
            parts.setdefault(name, []).append(value.astype(np.float32))
        parts.setdefault("scene", []).append(np.full(len(points), scene))
        parts.setdefault("supervoxel", []).append(segments + group)
        segments += int(group.max()) + 1
        if "labels" in cloud:
            parts.setdefault("point_label", []).append(cloud["labels"][first])
        for name in VIEW_ARRAYS:
            if name in cloud:
                parts.setdefault(name, []).append(cloud[name][None])
        progress.report(scene + 1, len(chosen))
    _check_all_or_none(parts, chosen)
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    meta: dict = {"voxel": voxel, "truth": []}
    if "point_label" in arrays:
        labels = arrays["point_label"]
        names = class_names if class_names is not None else [str(i) for i in range(int(labels.max()) + 1)]
        arrays["point_label"] = np.where((labels >= 0) & (labels < len(names)), labels, -1)
        meta |= {"class_names": names, "truth": ["point_label"]}
    return Dataset({"samples": samples}, arrays, meta=meta)


def _files(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Files of all scenes and the split of each."""
    files, splits = [], []
    for split in ("train", "test"):
        if (folder / split).is_dir():
            found = cloud_files(folder / split)
            files += found
            splits += [split] * len(found)
    if not files:
        files = cloud_files(folder)
        splits = ["train"] * len(files)
    if not files:
        raise ValueError(
            f"path: {folder} holds no .ply or .npz file; put one per scene there, or into train/ and test/"
        )
    return files, np.array(splits)


def _check_all_or_none(parts: dict[str, list[np.ndarray]], files: list[Path]) -> None:
    for name in ("point_label", *VIEW_ARRAYS):
        if name in parts and len(parts[name]) != len(files):
            what = "labels" if name == "point_label" else name
            raise ValueError(
                f"path: only {len(parts[name])} of {len(files)} files have '{what}'; give it to all or none"
            )
    for name in VIEW_ARRAYS:
        if len({value.shape for value in parts.get(name, [])}) > 1:
            raise ValueError(
                f"path: '{name}' differs in shape between files; give every scene as many views of one size"
            )
