import numpy as np
import pytest

from tasks.curves import block_means, curve_table


def test_curve_table():
    table = curve_table("loss", [1, 2], [0.5, 0.25])
    assert table["x"].dtype == table["y"].dtype == np.float64
    assert curve_table("loss", [], []).dtypes.to_dict() == table.dtypes.to_dict()


@pytest.mark.parametrize(
    ("count", "x", "y"),
    [(6, [13, 16], [1, 4]), (7, [13, 16, 17], [1, 4, 6]), (2, [12], [0.5]), (0, [], [])],
    ids=["whole blocks", "a rest", "less than a block", "nothing"],
)
def test_block_means(count, x, y):
    table = block_means("loss", [float(v) for v in range(count)], 3, before=10)
    assert table.equals(curve_table("loss", x, y))
