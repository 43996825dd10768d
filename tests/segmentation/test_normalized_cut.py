"""The two-way normalized cut against SciPy's generalised solver and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh

from tasks.segmentation.normalized_cut import WEAK_LINK, patch_graph, second_eigenvector


def _generalised(alike):
    """All (lambda, v) of (D - W) v = lambda D v by SciPy's generalised symmetric solver."""
    w = np.where(alike, 1.0, WEAK_LINK)
    d = np.diag(w.sum(axis=1))
    return eigh(d - w, d)


def test_two_perfect_blocks_have_the_closed_form_eigenvalue():
    alike = patch_graph(np.eye(2)[[0] * 55 + [1] * 9], 0.15)
    eigenvalue, v = second_eigenvector(alike)
    e = WEAK_LINK
    assert eigenvalue == pytest.approx(e * 9 / (55 + e * 9) + e * 55 / (9 + e * 55), rel=1e-6)
    assert eigenvalue == pytest.approx(6.274e-5, abs=5e-9)
    # The plain Laplacian would give e * 64.
    assert not np.isclose(eigenvalue, e * 64, rtol=0.01)
    assert len(np.unique(v.round(9))) == 2


@given(seed=st.integers(0, 10_000), groups=st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_merging_twins_changes_nothing(seed, groups):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 5))
    features = centres[rng.integers(groups, size=40)]
    features[rng.random(40) < 0.3] += rng.normal(size=5)
    features[rng.random(40) < 0.1] = 0
    alike = patch_graph(features, 0.3)
    values, vectors = _generalised(alike)
    eigenvalue, v = second_eigenvector(alike)
    if values[1] > 0.99:
        assert eigenvalue > 0.99
        return
    assert eigenvalue == pytest.approx(values[1], abs=1e-9)
    w = np.where(alike, 1.0, WEAK_LINK)
    d = w.sum(axis=1)
    assert np.linalg.norm((d * v - w @ v) - eigenvalue * d * v) < 1e-7
    if values[2] - values[1] > 1e-6:
        expected = vectors[:, 1] / np.linalg.norm(vectors[:, 1])
        assert min(np.abs(v - expected).max(), np.abs(v + expected).max()) < 1e-4


def test_one_block_has_no_cut():
    eigenvalue, v = second_eigenvector(patch_graph(np.ones((16, 3)), 0.15))
    assert eigenvalue == 1
    assert not v.any()


def test_zero_vectors_are_like_nothing_not_even_themselves():
    features = np.ones((4, 2))
    features[1] = 0
    alike = patch_graph(features, -0.5)
    assert not alike[1].any()
    assert not alike[:, 1].any()
    assert alike[0, 2]


def test_graph_thresholds_the_cosine_whatever_the_length():
    features = np.array([[1.0, 0.0], [5.0, 5.0], [0.0, 0.1]])
    assert patch_graph(features, 0.7).tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    assert patch_graph(features, 0.71).tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize("tau", [-1.0, 1.0, 2.0])
def test_tau_outside_its_range_is_named(tau):
    with pytest.raises(ValueError, match=f"tau must lie strictly between -1 and 1, got {tau}"):
        patch_graph(np.ones((2, 2)), tau)
