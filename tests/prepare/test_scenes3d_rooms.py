"""Generator `scenes3d_rooms`."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.prepare.scenes3d_rooms import scenes3d_rooms
from tasks.scenes3d.backprojection import visible
from tasks.scenes3d.rooms import CLASSES, furnished_room, parts_of


@pytest.fixture(scope="module")
def rooms():
    return scenes3d_rooms(n_train=3, n_test=1, voxel=0.1)


def test_shapes_and_truth(rooms):
    rooms.check()
    count = len(rooms.arrays["points"])
    assert rooms.arrays["images"].shape == (4, 10, 48, 64, 3)
    assert rooms.samples["split"].tolist() == ["train"] * 3 + ["test"]
    assert {
        n: a.shape[0] for n, a in rooms.arrays.items() if n in ("rgb", "normals", "scene", "point_label")
    } == dict.fromkeys(("rgb", "normals", "scene", "point_label"), count)
    assert set(rooms.without_truth().arrays) == {
        "images", "c2w", "intrinsics", "distance", "points", "rgb", "normals", "scene", "supervoxel"
    }  # fmt: skip
    assert np.linalg.norm(rooms.arrays["normals"], axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_points_and_classes_are_as_many_as_planned(rooms):
    counts = np.bincount(rooms.arrays["scene"])
    assert 4000 < counts.min() < counts.max() < 9000
    share = np.bincount(rooms.arrays["point_label"], minlength=8) / len(rooms.arrays["scene"])
    assert 0.15 < share[0] < 0.35
    assert 0.45 < share[1] < 0.65
    assert share[2:].min() > 0.005
    assert share[2:].max() < 0.12


def test_one_point_per_voxel(rooms):
    for scene in range(4):
        points = rooms.arrays["points"][rooms.arrays["scene"] == scene].astype(np.float64)
        cells = np.floor(points / 0.1 + 1e-3)
        assert len(np.unique(cells, axis=0)) > 0.999 * len(points)


def test_supervoxels_are_small_and_pure(rooms):
    group, label = rooms.arrays["supervoxel"], rooms.arrays["point_label"]
    assert np.array_equal(np.unique(group), np.arange(group.max() + 1))
    table = np.zeros((group.max() + 1, 8))
    np.add.at(table, (group, label), 1)
    assert 60 < (group.max() + 1) / 4 < 160
    assert (table.max(axis=1) / table.sum(axis=1)).mean() > 0.98
    assert table.sum(axis=1).min() >= 8


def test_most_points_are_seen_by_a_view(rooms):
    for scene in range(4):
        points = rooms.arrays["points"][rooms.arrays["scene"] == scene].astype(np.float64)
        k = rooms.arrays["intrinsics"][scene].astype(np.float64)
        seen = [
            visible(points, c2w.astype(np.float64), k, distance, 0.05)[1]
            for c2w, distance in zip(rooms.arrays["c2w"][scene], rooms.arrays["distance"][scene], strict=True)
        ]
        assert np.any(seen, axis=0).mean() > 0.75


def test_a_room_does_not_depend_on_how_many_there_are(rooms):
    fewer = scenes3d_rooms(n_train=1, n_test=1, voxel=0.1)
    assert np.array_equal(fewer.arrays["images"], rooms.arrays["images"][[0, 3]])
    other = scenes3d_rooms(n_train=1, n_test=0, voxel=0.1, seed=1)
    assert not np.array_equal(other.arrays["images"][0], rooms.arrays["images"][0])


def test_furniture_stays_in_the_room_and_apart():
    for seed in range(15):
        solids, width, depth = furnished_room(np.random.default_rng(seed))
        objects = {s.obj: (CLASSES[s.cls], s.sub) for s in solids}
        assert objects[0][0] == "floor"
        assert objects[1][0] == "wall"
        corners = {}
        for s in solids[5:]:
            reach = np.abs(s.rotation) @ s.half
            corners.setdefault(s.obj, []).append([s.centre - reach, s.centre + reach])
        boxes = {
            obj: (np.min([c[0] for c in v], axis=0), np.max([c[1] for c in v], axis=0)) for obj, v in corners.items()
        }
        for obj, (low, high) in boxes.items():
            assert np.abs([low[:2], high[:2]]).max(axis=0) == pytest.approx(
                np.minimum(np.abs([low[:2], high[:2]]).max(axis=0), np.array([width, depth]) / 2)
            ), objects[obj]
            assert low[2] == pytest.approx(0, abs=1e-9)


def test_beds_and_cabinets_stand_with_their_backs_to_a_wall():
    for seed in range(10):
        solids, width, depth = furnished_room(np.random.default_rng(seed))
        for s in solids:
            if CLASSES[s.cls] in ("bed", "cabinet") and s.part == 0:
                back = s.centre[:2] - s.rotation[:2, 0] * s.half[0]
                gap = np.array([width, depth]) / 2 - np.abs(back)
                assert gap.min() == pytest.approx(0.02, abs=1e-9)
                # Away from the wall is where local x points.
                axis = int(gap.argmin())
                assert s.rotation[axis, 0] == pytest.approx(-np.sign(back[axis]))


def test_pieces_of_furniture():
    assert len(parts_of("table", 0)) == 5
    assert len(parts_of("chair", 0)) == 6
    assert [len(parts_of(name, 1)) for name in ("table", "chair", "cabinet")] == [2, 2, 1]
    assert parts_of("cabinet", 1)[0][1][2] == 0.95
    assert parts_of("plant", 0)[1][0] == "ellipsoid"
