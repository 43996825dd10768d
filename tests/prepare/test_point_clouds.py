"""Reader `point_clouds`, and PLY files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.prepare.point_clouds import point_clouds
from tasks.readers.ply import read_vertices

FIELDS = ("x", "y", "z", "red", "green", "blue", "label")


def some_points(seed: int, count: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    cells = rng.choice(1000, count, replace=False)
    places = np.stack([cells // 100, cells // 10 % 10, cells % 10], axis=1) * 0.1 + 0.05
    return {
        "points": places, "rgb": rng.integers(0, 256, (count, 3), dtype=np.uint8),
        "labels": rng.integers(0, 3, count), "normals": np.tile([0.0, 0, 1], (count, 1)),
    }  # fmt: skip


def write_ply(path: Path, cloud: dict[str, np.ndarray], form: str = "binary_little_endian") -> Path:
    order = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}[form]
    kinds = ["f4"] * 3 + ["u1"] * 3 + ["i4"]
    table = np.zeros(len(cloud["points"]), [(n, order + k) for n, k in zip(FIELDS, kinds, strict=True)])
    for i in range(3):
        table[FIELDS[i]], table[FIELDS[3 + i]] = cloud["points"][:, i], cloud["rgb"][:, i]
    table["label"] = cloud["labels"]
    names = {"f4": "float", "u1": "uchar", "i4": "int"}
    lines = ["ply", f"format {form} 1.0", "comment made by a test", f"element vertex {len(table)}"]
    lines += [f"property {names[k]} {n}" for n, k in zip(FIELDS, kinds, strict=True)]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "ascii":
        body = "".join(" ".join(str(v) for v in row) + "\n" for row in table.tolist()) + "3 0 1 2\n"
        path.write_text("\n".join(lines) + "\n" + body)
    else:
        path.write_bytes(
            ("\n".join(lines) + "\n").encode() + table.tobytes() + b"\x03" + np.arange(3, dtype="<i4").tobytes()
        )
    return path


def write_npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_in_every_format(tmp_path: Path, form: str) -> None:
    cloud = some_points(0)
    vertices = read_vertices(write_ply(tmp_path / "a.ply", cloud, form))
    assert list(vertices) == list(FIELDS)
    assert np.column_stack([vertices[n] for n in "xyz"]) == pytest.approx(cloud["points"], abs=1e-6)
    assert np.array_equal(vertices["red"], cloud["rgb"][:, 0])
    assert vertices["label"].dtype == np.int32
    assert np.array_equal(vertices["label"], cloud["labels"])


def test_ply_and_npz_scenes(tmp_path: Path) -> None:
    one, two = some_points(0), some_points(1)
    write_ply(tmp_path / "train" / "a.ply", one)
    write_npz(tmp_path / "test" / "b.npz", **two)
    dataset = point_clouds(path=str(tmp_path), voxel=0.1, class_names=["floor", "wall"])
    dataset.check()
    assert dataset.samples["split"].tolist() == ["train", "test"]
    assert np.bincount(dataset.arrays["scene"]).tolist() == [40, 40]
    for scene, cloud in enumerate((one, two)):
        mine = dataset.arrays["scene"] == scene
        order = np.lexsort(cloud["points"].T[::-1])
        assert dataset.arrays["points"][mine] == pytest.approx(cloud["points"][order], abs=1e-6)
        assert dataset.arrays["rgb"][mine] == pytest.approx(cloud["rgb"][order] / 255, abs=1e-6)
        # Label 2 has no name, so it is not scored.
        assert np.array_equal(
            dataset.arrays["point_label"][mine], np.where(cloud["labels"] == 2, -1, cloud["labels"])[order]
        )
    assert dataset.meta == {"voxel": 0.1, "class_names": ["floor", "wall"], "truth": ["point_label"]}
    group = dataset.arrays["supervoxel"]
    assert group[dataset.arrays["scene"] == 0].max() < group[dataset.arrays["scene"] == 1].min()


def test_a_voxel_keeps_one_point(tmp_path: Path) -> None:
    points = np.array([[0.01, 0.01, 0], [0.03, 0.01, 0], [0.21, 0, 0]])
    write_npz(tmp_path / "a.npz", points=points, labels=[2, 1, 0])
    dataset = point_clouds(path=str(tmp_path), voxel=0.1)
    assert dataset.arrays["points"] == pytest.approx(np.array([[0.02, 0.01, 0], [0.21, 0, 0]]))
    assert dataset.arrays["point_label"].tolist() == [2, 0]
    assert (dataset.arrays["rgb"] == 0.5).all()
    assert dataset.meta["class_names"] == ["0", "1", "2"]


def test_supervoxels_normals_and_views_are_taken_from_the_file(tmp_path: Path) -> None:
    cloud = some_points(0)
    views = {
        "images": np.zeros((2, 8, 8, 3), np.uint8), "c2w": np.zeros((2, 3, 4)), "intrinsics": np.eye(3),
        "distance": np.ones((2, 8, 8)),
    }  # fmt: skip
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", **cloud, **views, supervoxel=np.arange(40) % 4 * 10)
    dataset = point_clouds(path=str(tmp_path), voxel=0.1, test_share=0.5)
    assert dataset.arrays["images"].shape == (2, 2, 8, 8, 3)
    assert dataset.arrays["intrinsics"].shape == (2, 3, 3)
    assert sorted(np.bincount(dataset.arrays["supervoxel"])) == [10] * 8
    assert (dataset.arrays["normals"] == [0, 0, 1]).all()
    assert sorted(dataset.samples["split"]) == ["test", "train"]


def test_without_labels_there_is_no_truth(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", points=some_points(0)["points"])
    dataset = point_clouds(path=str(tmp_path), voxel=0.1)
    dataset.check()
    assert dataset.meta["truth"] == []
    assert "point_label" not in dataset.arrays


def test_limit(tmp_path: Path) -> None:
    for name in "abcd":
        write_npz(tmp_path / f"{name}.npz", points=some_points(ord(name))["points"])
    assert len(point_clouds(path=str(tmp_path), voxel=0.1, limit=2).samples) == 2


def refused(folder: Path, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=message):
        point_clouds(path=str(folder), voxel=0.1)


def test_missing_and_empty(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none does not exist; put the data set there", FileNotFoundError)
    refused(tmp_path, r"holds no .ply or .npz file")


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_ply_cut_short(tmp_path: Path, form: str, cut: Callable) -> None:
    path = cut(write_ply(tmp_path / "a.ply", some_points(0), form))
    refused(tmp_path, f"path: {path} is (cut short|damaged)")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply\n", b"pdf\n", "is no PLY file"),
        (b"end_header", b"end_of_it_", "is no PLY file"),
        (b"binary_little_endian", b"binary_middle_endian", "unknown format 'binary_middle_endian'"),
        (b"property uchar red", b"property byte red", "unknown type 'byte' of property 'red'"),
        (b"property uchar red", b"property list uchar int red", "list property 'red' of vertices"),
        (b"property float z", b"property float w", "has vertices without 'z'; they have x, y, w"),
        (b"element vertex 40", b"element vertex 0", "has no vertices"),
        (b"element vertex 40", b"element vertex forty", "forty"),
        (b"comment made by a test", b"element camera 1\nproperty float a", "has element 'camera' before 'vertex'"),
    ],
)
def test_damaged_ply_headers(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_ply(tmp_path / "a.ply", some_points(0))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    refused(tmp_path, message)


def test_damaged_npz(tmp_path: Path, cut: Callable) -> None:
    path = write_npz(tmp_path / "a.npz", **some_points(0))
    refused_path = f"path: {path} is damaged, cut short or pickled"
    cut(path)
    refused(tmp_path, refused_path)
    write_npz(path, points=np.array([{"x": 1}], dtype=object))
    refused(tmp_path, refused_path)
    write_npz(path, rgb=np.zeros((3, 3)))
    refused(tmp_path, f"path: {path} has no array 'points'")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.zeros((4, 2))}, r"'points' is \(4, 2\), expected \(4, 3\)"),
        ({"points": np.zeros((4, 3)), "labels": np.zeros(3)}, r"'labels' is \(3,\), expected \(4,\)"),
        ({"points": np.zeros((4, 3)), "rgb": np.zeros((4, 4))}, r"'rgb' is \(4, 4\)"),
        ({"points": np.full((4, 3), np.nan)}, "'points' holds NaN or infinite values"),
        ({"points": np.zeros((0, 3))}, "has no points"),
        (
            {"points": np.zeros((4, 3)), "images": np.zeros((8, 8, 3))},
            r"'images' is \(8, 8, 3\), expected 4 dimensions",
        ),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    write_npz(tmp_path / "a.npz", **arrays)
    refused(tmp_path, message)


def test_labels_or_views_in_some_files_only(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", **some_points(0))
    write_npz(tmp_path / "b.npz", points=some_points(1)["points"])
    refused(tmp_path, "only 1 of 2 files have 'labels'; give it to all or none")
    for name, views in (("a", 2), ("b", 3)):
        write_npz(tmp_path / f"{name}.npz", points=some_points(1)["points"], images=np.zeros((views, 8, 8, 3)))
    refused(tmp_path, "'images' differs in shape between files")


def test_no_permission(open_folder: Path, forbidden: Callable) -> None:
    path = write_npz(open_folder / "a.npz", points=np.zeros((4, 3)))
    with forbidden(path):
        refused(open_folder, f"path: no permission to read {path}")


def test_a_scan(real_data: Path, tmp_path: Path) -> None:
    """A room of ScanNet (40,684 points, x y z r g b)."""
    table = np.fromfile(real_data / "point-clouds" / "scene0000_00.bin", dtype=np.float32).reshape(-1, 6)
    write_npz(tmp_path / "room.npz", points=table[:, :3], rgb=table[:, 3:].astype(np.uint8))
    dataset = point_clouds(path=str(tmp_path), voxel=0.1)
    dataset.check()
    points, group = dataset.arrays["points"], dataset.arrays["supervoxel"]
    assert 3000 < len(points) < 40684
    assert 30 < group.max() + 1 < len(points) / 8
    # The floor is the largest flat piece: normals of the lowest points stand upright.
    low = points[:, 2] < np.quantile(points[:, 2], 0.1)
    assert np.median(dataset.arrays["normals"][low, 2]) > 0.95
