"""Voxels, super-voxels, pooling, projection of image features."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from tasks.artifacts import Dataset
from tasks.scenes3d.augmentation import Motion, moved
from tasks.scenes3d.backprojection import backproject_features, bilinear, visible
from tasks.scenes3d.cameras import intrinsics, look_at, render
from tasks.scenes3d.clouds import clouds_of, supervoxels_of
from tasks.scenes3d.pooling import pooled_directions, units_to_cluster
from tasks.scenes3d.primitives import Primitive
from tasks.scenes3d.supervoxels import estimated_normals, graph_supervoxels, merge_graph
from tasks.scenes3d.voxels import occupied_voxels


def test_occupied_voxels():
    points = np.array([[0.01, 0.0, 0.0], [0.09, 0.05, 0.0], [0.11, 0.0, 0.0], [-0.01, 0.0, 0.0], [0.05, 0.0, -1e-12]])
    mean, first, of_hit = occupied_voxels(points, 0.1)
    assert first.tolist() == [3, 0, 2]
    assert of_hit.tolist() == [1, 1, 2, 0, 1]  # rounding does not split the layer at z = 0
    assert mean[1] == pytest.approx([0.05, 0.05 / 3, 0], abs=1e-9)
    with pytest.raises(ValueError, match="it has no points"):
        occupied_voxels(np.zeros((0, 3)), 0.1)
    with pytest.raises(ValueError, match="coordinates are NaN"):
        occupied_voxels(np.array([[0, np.nan, 0]]), 0.1)


def test_two_walls_in_a_corner_are_two_supervoxels():
    y, z = (a.ravel() for a in np.mgrid[0:10, 0:10] / 10)
    wall = np.column_stack([np.zeros(100), y + 0.1, z])
    floor = np.column_stack([y + 0.1, z, np.zeros(100) - 0.1])
    normals = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 100, axis=0)
    group = graph_supervoxels(np.concatenate([wall, floor]), np.full((200, 3), 0.5), normals)
    assert group.tolist() == [0] * 100 + [1] * 100


def test_colour_divides_a_plane():
    y, z = (a.ravel() for a in np.mgrid[0:10, 0:10] / 10)
    rgb = np.where(y[:, None] < 0.45, 0.1, 0.9) * np.ones(3)
    group = graph_supervoxels(np.column_stack([np.zeros(100), y, z]), rgb, np.tile([1.0, 0, 0], (100, 1)))
    assert len(np.unique(group)) == 2
    assert len(np.unique(group[y < 0.45])) == 1


def felzenszwalb(count, edges, scale, smallest):
    """The same merging by sets and by the definition: Int is the largest weight of a component's minimum spanning tree."""
    part = {node: frozenset([node]) for node in range(count)}
    inner = dict.fromkeys(part.values(), 0.0)

    def join(a, b, weight):
        both = a | b
        inner[both] = weight
        part.update(dict.fromkeys(both, both))

    for a, b, w in edges:
        one, two = part[a], part[b]
        if one is not two and w <= min(inner[one] + scale / len(one), inner[two] + scale / len(two)):
            join(one, two, w)
    for a, b, _ in edges:
        one, two = part[a], part[b]
        if one is not two and min(len(one), len(two)) < smallest:
            join(one, two, 0.0)
    return set(part.values())


def test_merging_follows_the_definition():
    rng = np.random.default_rng(0)
    graph = nx.gnm_random_graph(60, 150, seed=1)
    edges = sorted(
        ((a, b, float(w)) for (a, b), w in zip(graph.edges, rng.random(150), strict=True)), key=lambda e: e[2]
    )
    a, b, w = (np.array(column) for column in zip(*edges, strict=True))
    for smallest in (1, 5):
        group = merge_graph(60, a, b, w, 0.9, smallest)
        assert {frozenset(np.flatnonzero(group == g).tolist()) for g in np.unique(group)} == felzenszwalb(
            60, edges, 0.9, smallest
        )
    assert 1 < group.max() < 59
    assert np.array_equal(np.unique(group, return_index=True)[1], np.sort(np.unique(group, return_index=True)[1]))


def test_normals_of_a_plane():
    x, y = np.random.default_rng(0).uniform(size=(2, 50))
    expected = np.array([-1, 2, 4]) / np.sqrt(21)
    normals = estimated_normals(np.column_stack([x, y, (x - 2 * y) / 4]))
    assert normals == pytest.approx(np.tile(expected, (50, 1)), abs=1e-6)


def test_pooling_normalises_points_and_means():
    x, group = np.array([[100.0, 0], [0, 1.0], [0, 3.0], [0, 0.0]]), np.array([7, 7, 2, 2])
    pooled, groups = pooled_directions(x, group)
    assert groups.tolist() == [2, 7]
    # The long first row counts no more than the second; the zero row of group 2 has no direction.
    assert pooled == pytest.approx(np.array([[0, 1], [np.sqrt(0.5), np.sqrt(0.5)]]))


def test_one_point_per_supervoxel_is_no_pooling():
    x = np.random.default_rng(0).normal(size=(30, 5))
    order = np.random.default_rng(1).permutation(30)
    pooled, unit = units_to_cluster(x, order)
    alone, own = units_to_cluster(x, None)
    assert pooled[unit] == pytest.approx(alone[own], abs=1e-12)


def test_bilinear_features():
    grid = np.arange(12, dtype=float).reshape(3, 4, 1)  # 4 x + y of cells of 2 x 2 pixels in a 6 x 8 image
    uv = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 3.0], [0.0, 0.0], [8.0, 6.0]])
    assert bilinear(grid, uv, (6, 8))[:, 0] == pytest.approx([0, 0.5, 5, 0, 11])
    image = np.random.default_rng(0).random((1, 3, 5, 7)).astype(np.float32)
    at = np.random.default_rng(1).uniform([0, 0], [7, 5], (40, 2))
    reference = torch.nn.functional.grid_sample(
        torch.tensor(image), torch.tensor(at / [7, 5] * 2 - 1, dtype=torch.float32)[None, None],
        align_corners=False, padding_mode="border",
    )[0, :, 0].T  # fmt: skip
    assert bilinear(image[0].transpose(1, 2, 0), at, (5, 7)) == pytest.approx(reference.numpy(), abs=1e-5)


@pytest.fixture
def views():
    solids = [
        Primitive("box", np.array([2, 2, 0.1]), np.array([0, 0, -0.1])),
        Primitive("box", np.array([0.3, 0.3, 0.3]), np.array([0, 0, 0.3])),
    ]
    k = intrinsics(24, 32, 1.2)
    cameras = [look_at(np.array(eye), np.array([0, 0, 0.2])) for eye in ([2.0, 0, 1.5], [-2.0, 0.3, 1.5])]
    return cameras, k, [render(solids, c, k, 24, 32) for c in cameras]


def test_a_point_returns_to_the_pixels_that_made_it(views):
    cameras, k, seen = views
    there = np.isfinite(seen[0].distance)
    distance = np.where(there, seen[0].distance, 0)
    uv, visible_here = visible(seen[0].point[there], cameras[0], k, distance, 0.05)
    assert visible_here.all()
    assert np.array_equal(np.floor(uv[:, ::-1]).astype(int), np.argwhere(there))
    # A voxel of several hits: each of its pixels is met by its own hit.
    _, _, of_hit = occupied_voxels(seen[0].point[there], 0.2)
    voxel = np.argmax(np.bincount(of_hit))
    pixels = np.argwhere(there)[of_hit == voxel]
    assert len(pixels) > 1
    assert np.array_equal(np.floor(uv[of_hit == voxel][:, ::-1]).astype(int), pixels)


def test_what_is_hidden_is_not_seen(views):
    cameras, k, seen = views
    distances = [np.where(np.isfinite(s.distance), s.distance, 0) for s in seen]
    behind_box = np.array([[-0.6, 0.0, 0.0]])
    assert not visible(behind_box, cameras[0], k, distances[0], 0.05)[1][0]
    assert visible(behind_box, cameras[1], k, distances[1], 0.05)[1][0]


def test_features_are_averaged_over_the_views_that_see_a_point(views):
    cameras, k, seen = views
    distances = np.stack([np.where(np.isfinite(s.distance), s.distance, 0) for s in seen])
    features = np.stack([np.full((6, 8, 2), value) for value in (1.0, 3.0)])
    points = np.array([[0.0, 0.1, 0.6], [-0.6, 0.0, 0.0], [0.0, 0.0, 5.0]])
    mean, known = backproject_features(points, features, np.stack(cameras), k, distances, tolerance=0.05)
    assert known.tolist() == [True, True, False]
    assert mean.tolist() == [[2, 2], [3, 3], [0, 0]]
    mean, known = backproject_features(points, features, np.stack(cameras), k, distances, tolerance=0.05, views=1)
    assert known.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="no view sees any of its points"):
        backproject_features(points + 50, features, np.stack(cameras), k, distances, tolerance=0.05)


def test_motion_keeps_shapes():
    points = np.random.default_rng(0).normal(size=(50, 3))
    still = moved(points, None, 0.1, np.random.default_rng(0))
    assert still[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert still[:, 2] == pytest.approx(points[:, 2])
    once = moved(points, Motion(turn=180, tilt=10, shift=20, scale=[0.9, 1.1]), 0.1, np.random.default_rng(1))

    def distances(p):
        return np.linalg.norm(p[:, None] - p[None], axis=2)

    ratio = distances(once)[distances(points) > 0] / distances(points)[distances(points) > 0]
    assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))
    assert 0.9 <= ratio[0] <= 1.1
    upright = moved(points, Motion(tilt=0, shift=0, scale=[1.0, 1.0]), 0.1, np.random.default_rng(2))
    assert upright[:, 2] == pytest.approx(points[:, 2])
    assert np.abs(upright[:, 0] - still[:, 0]).max() > 0.1


def cloud(**changes) -> Dataset:
    import pandas as pd

    samples = pd.DataFrame({"sample": [0, 1], "split": pd.Series(["train", "test"], dtype="str")})
    rng = np.random.default_rng(0)
    arrays = {
        "points": rng.normal(size=(6, 3)), "rgb": rng.random((6, 3)), "normals": rng.normal(size=(6, 3)),
        "scene": np.array([0, 0, 0, 1, 1, 1]), "supervoxel": np.array([0, 0, 1, 2, 2, 2]),
    }  # fmt: skip
    return Dataset({"samples": samples}, {**arrays, **changes}, meta={"voxel": 0.1})


def test_bad_clouds_are_refused():
    assert clouds_of(cloud()).rows(1).tolist() == [3, 4, 5]
    points = np.zeros((6, 3))
    points[4, 1] = np.nan
    with pytest.raises(ValueError, match="scene 1 has coordinates that are NaN"):
        clouds_of(cloud(points=points))
    with pytest.raises(ValueError, match="scene 1 has no points"):
        clouds_of(cloud(scene=np.zeros(6, dtype=np.int64)))
    with pytest.raises(ValueError, match="different lengths"):
        clouds_of(cloud(rgb=np.zeros((5, 3))))
    with pytest.raises(ValueError, match="array 'normals' is needed"):
        clouds_of(Dataset({}, {"points": points, "rgb": points, "scene": points}))
    with pytest.raises(ValueError, match="super-voxel 1 reaches over two scenes"):
        supervoxels_of(cloud(supervoxel=np.array([0, 0, 1, 1, 2, 2])))
    with pytest.raises(ValueError, match="array 'supervoxel' is needed"):
        supervoxels_of(Dataset({}, {"scene": points}))
