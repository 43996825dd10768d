import numpy as np
import pytest

from tasks.vision.stuff_and_things import inside_thing


@pytest.mark.parametrize(
    ("kind", "area"),
    [(0, np.pi), (1, 1.7**2), (2, 1.9**2 / 2), (3, np.pi * (1 - 0.35**2))],
    ids=["disk", "square", "triangle", "ring"],
)
def test_area_of_eachinside_thing(kind, area):
    v, u = np.mgrid[-60:61, -60:61]
    assert inside_thing(kind, u, v, 40.0).sum() == pytest.approx(area * 1600, rel=0.03)
