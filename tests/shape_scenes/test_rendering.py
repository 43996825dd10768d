"""Shapes and textures have the areas that geometry says."""

import numpy as np
import pytest

from tasks.shape_scenes.rendering import SceneObject, inside_shape, own_coordinates, render, second_tone

V, U = (axis / 400 for axis in np.mgrid[-500:501, -500:501])
CELL = 1 / 400**2


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi),
        ("square", 1.72**2),
        ("triangle", 1.9 * 1.6 / 2),
        ("cross", 2 * 2 * 0.68 - 0.68**2),
        ("ring", np.pi * (1 - 0.55**2)),
        ("star", np.pi * (0.45**2 + 0.45 * 0.55 + 0.55**2 / 3)),
    ],
)
def test_areas(shape, area):
    assert inside_shape(shape, U, V).sum() * CELL == pytest.approx(area, rel=0.01)


def test_star_has_five_points_and_one_is_up():
    angle = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
    tips = inside_shape("star", 0.97 * np.sin(angle), -0.97 * np.cos(angle))
    assert tips[0]
    assert (tips & ~np.roll(tips, 1)).sum() == 5


@pytest.mark.parametrize(
    ("texture", "share"), [("plain", 0), ("striped", 0.5), ("dotted", np.pi * 0.09), ("checkered", 0.5)]
)
def test_shares_of_the_second_tone(texture, share):
    v, u = (axis / 300 for axis in np.mgrid[-300:300, -300:300])
    assert second_tone(texture, u, v).mean() == pytest.approx(share, abs=0.01)


def test_rotation_turns_the_object_and_not_the_world():
    thing = SceneObject("triangle", "red", "plain", 0.2, -0.1, 0.5, np.pi / 2)
    # A quarter turn (y grows downwards, so it looks clockwise) takes the apex (0, -0.8) to the right.
    u, v = own_coordinates(thing, np.array([0.2 + 0.4]), np.array([-0.1]))
    assert u == pytest.approx(0)
    assert v == pytest.approx(-0.8)


def test_later_objects_hide_earlier_ones_and_half_covered_pixels_count():
    below = SceneObject("square", "red", "plain", 0.0, 0.0, 0.5, 0.0)
    above = SceneObject("circle", "blue", "plain", 0.3, 0.0, 0.3, 0.0)
    image, mask = render([below, above], "light", "clean", 32, 8, 0.0, np.random.default_rng(0))
    assert mask[16, 20] == 2
    assert image[16, 20].argmax() == 2
    assert mask[16, 10] == 1
    assert mask[0, 0] == 0
    assert (mask == 1).sum() + (mask == 2).sum() == pytest.approx(256 * (0.86**2) + 20, abs=20)
