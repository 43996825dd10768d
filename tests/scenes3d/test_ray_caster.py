"""Rays against solids, and cameras."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tasks.scenes3d.cameras import intrinsics, look_at, project, rays, render
from tasks.scenes3d.primitives import Primitive, colour_at, hit

CENTRE = np.zeros(3)
FROM_BELOW = (np.array([[0.0, 0.0, -3.0]]), np.array([[0.0, 0.0, 1.0]]))


def turned(angle: float, axis: int) -> np.ndarray:
    return Rotation.from_euler("xyz"[axis], angle).as_matrix()


def scene() -> list[Primitive]:
    turn = turned(0.4, 2) @ turned(0.3, 0)
    return [
        Primitive("box", np.array([3, 3, 0.1]), np.array([0, 0, -1.0]), texture="check", frequency=5),
        Primitive("box", np.array([0.5, 0.3, 0.7]), np.array([0.8, 0.2, 0]), turn, texture="stripe", frequency=9),
        Primitive(
            "ellipsoid", np.array([0.4, 0.6, 0.3]), np.array([-0.8, 0.1, 0]), turn, texture="noise", frequency=12
        ),
        Primitive("cylinder", np.array([0.3, 0.3, 0.5]), np.array([0, -0.9, 0]), turn),
    ]


@pytest.mark.parametrize(
    ("kind", "half", "distance"),
    [
        ("ellipsoid", (1, 1, 1), 2.0),
        ("box", (1, 1, 1), 2.0),
        ("cylinder", (1, 1, 0.5), 2.5),
        ("ellipsoid", (1, 2, 0.5), 2.5),
    ],
)
def test_known_distances(kind, half, distance):
    t, normal, local = hit(Primitive(kind, np.array(half), CENTRE), *FROM_BELOW)
    assert t == pytest.approx([distance])
    assert normal[0] == pytest.approx([0, 0, -1])
    assert local[0] == pytest.approx([0, 0, distance - 3])


def test_the_side_of_a_cylinder_and_misses():
    solid = Primitive("cylinder", np.array([1, 1, 0.5]), CENTRE)
    origins = np.array([[-3.0, 0, 0.4], [-3.0, 0, 0.6], [-3.0, 1.1, 0], [3.0, 0, 0]])
    directions = np.array([[1.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0]])
    t, normal, _ = hit(solid, origins, directions)
    assert t == pytest.approx([2, np.inf, np.inf, np.inf])
    assert normal[0] == pytest.approx([-1, 0, 0])


def test_from_inside_a_box_its_far_wall_is_seen():
    t, normal, _ = hit(Primitive("box", np.array([1.0, 2, 3]), CENTRE), np.zeros((1, 3)), np.array([[1.0, 0, 0]]))
    assert t == pytest.approx([1])
    assert normal[0] == pytest.approx([-1, 0, 0])


def test_hits_lie_on_the_surface_and_normals_face_the_ray():
    rng = np.random.default_rng(0)
    origins = rng.normal(size=(2000, 3)) * 0.3 + [0, 0, 4]
    directions = rng.normal(size=(2000, 3)) * [0.3, 0.3, 0.1] - [0, 0, 1]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for solid in scene():
        t, normal, local = hit(solid, origins, directions)
        there = np.isfinite(t)
        assert there.sum() > 20
        assert (normal[there] * directions[there]).sum(axis=1).max() < 0
        assert np.linalg.norm(normal[there], axis=1) == pytest.approx(np.ones(there.sum()))
        p = local[there] / solid.half
        surface = {
            "box": np.abs(p).max(axis=1),
            "ellipsoid": np.linalg.norm(p, axis=1),
            "cylinder": np.maximum(np.hypot(p[:, 0], p[:, 1]), np.abs(p[:, 2])),
        }[solid.kind]
        assert surface == pytest.approx(np.ones(there.sum()), abs=1e-6)


def test_textures():
    p = np.array([[0.05, 0, 0], [0.15, 0, 0], [-0.05, 0, 0]])
    white, black = np.ones(3), np.zeros(3)
    looks = {}
    for texture in ("plain", "stripe", "check", "noise"):
        solid = Primitive("box", np.ones(3), CENTRE, colour=white, second=black, texture=texture, frequency=25)
        looks[texture] = colour_at(solid, p)[:, 0]
    assert looks["plain"].tolist() == [1, 1, 1]
    assert looks["stripe"].tolist() == [1, 0, 0]  # sin of 1.25, 3.75, -1.25
    assert looks["check"].tolist() == [1, 0, 0]  # floor of 0.4, 1.2, -0.4
    solid = Primitive("box", np.ones(3), CENTRE, colour=white, second=black, texture="noise", frequency=1)
    cells = np.random.default_rng(0).integers(-50, 50, (4000, 3)) + 0.5
    assert colour_at(solid, cells)[:, 0].mean() == pytest.approx(0.55, abs=0.03)


def test_hit_points_project_back_to_their_pixel_centres():
    c2w = look_at(np.array([2.0, -2.5, 1.8]), np.array([0.1, 0.2, -0.2]))
    k = intrinsics(48, 64, 1.2)
    view = render(scene(), c2w, k, 48, 64)
    there = np.isfinite(view.distance)
    uv, distance = project(view.point[there], c2w, k)
    v, u = np.nonzero(there)
    assert uv == pytest.approx(np.column_stack([u, v]) + 0.5, abs=1e-6)
    assert distance == pytest.approx(view.distance[there])
    assert set(np.unique(view.solid)) == {-1, 0, 1, 2, 3}
    assert (view.colour[~there] == 1).all()


def test_points_behind_the_camera_have_no_pixel():
    c2w = look_at(np.zeros(3), np.array([1.0, 0, 0]))
    assert np.isnan(project(np.array([[-1.0, 0, 0]]), c2w, intrinsics(4, 4, 1.0))[0]).all()


def test_camera_axes():
    c2w = look_at(np.array([0.0, 0, 1]), np.array([5.0, 0, 1]))
    assert c2w[:, :3] == pytest.approx(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))  # right -y, down -z, forward x
    directions = rays(c2w, intrinsics(2, 2, np.pi / 2), 2, 2)
    assert (directions[:2, 2] > 0).all()  # the upper row looks up
    assert directions[0, 1] > 0 > directions[1, 1]  # the left column looks to the left


def test_turning_scene_and_camera_together_changes_no_distance():
    turn = turned(0.7, 2)
    k = intrinsics(24, 32, 1.2)
    eye, target = np.array([2.0, -2.5, 1.8]), np.array([0.1, 0.2, -0.2])
    before = render(scene(), look_at(eye, target), k, 24, 32).distance
    moved = [
        Primitive(s.kind, s.half, turn @ s.centre, turn @ s.rotation, texture=s.texture, frequency=s.frequency)
        for s in scene()
    ]
    after = render(moved, look_at(turn @ eye, turn @ target), k, 24, 32).distance
    both = np.isfinite(before) & np.isfinite(after)
    assert both.mean() > 0.5
    assert (np.isfinite(before) != np.isfinite(after)).mean() < 0.01
    assert after[both] == pytest.approx(before[both], abs=1e-6)


def test_shading():
    floor = [Primitive("box", np.array([3, 3, 0.1]), np.zeros(3), colour=np.full(3, 0.8))]
    view = render(floor, look_at(np.array([0.1, 0, 2.0]), np.zeros(3)), intrinsics(4, 4, 0.5), 4, 4)
    light = 0.85 / np.linalg.norm([0.4, 0.3, 0.85])
    assert view.colour == pytest.approx(np.full((4, 4, 3), 0.8 * (0.35 + 0.65 * light)))


def test_an_empty_scene_is_refused():
    with pytest.raises(ValueError, match="it has no solids"):
        render([], look_at(np.ones(3), np.zeros(3)), intrinsics(4, 4, 1.0), 4, 4)
