import numpy as np
import pytest
from scipy.stats import entropy

from tasks.metrics.cluster_sizes import normalised_entropy


def test_against_scipy():
    sizes = np.array([5, 0, 17, 3, 1])
    assert normalised_entropy(sizes) == pytest.approx(entropy(sizes, base=5))
    assert normalised_entropy(sizes * 7.5) == pytest.approx(normalised_entropy(sizes))


def test_extremes():
    assert normalised_entropy(np.full(6, 4)) == pytest.approx(1)
    assert str(normalised_entropy(np.array([0, 9, 0]))) == "0.0"


@pytest.mark.parametrize("sizes", [[3], [0, 0], [1, -1], [[1, 2], [3, 4]]])
def test_bad_input(sizes):
    with pytest.raises(ValueError, match="sizes must"):
        normalised_entropy(np.array(sizes))
