import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from tasks.clustering.kmeans import assign, fit_kmeans


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)


@pytest.mark.parametrize("k", [10, 64])
@pytest.mark.parametrize("n_init", [5])
def test_inertia_within_one_percent_of_scikit_learn(digits, k, n_init):
    ours = [fit_kmeans(digits, k, n_init=n_init, seed=s).inertia for s in range(3)]
    theirs = [KMeans(k, n_init=n_init, random_state=s).fit(digits).inertia_ for s in range(3)]
    assert np.mean(ours) < 1.01 * np.mean(theirs)


def test_inertia_is_the_sum_of_squared_distances_and_labels_are_assign(digits):
    fit = fit_kmeans(digits, 10, seed=0)
    assert fit.labels.dtype == np.int64
    assert fit.centroids.dtype == np.float32
    distances = ((digits[:, None].astype(np.float64) - fit.centroids[None]) ** 2).sum(axis=2)
    assert np.array_equal(fit.labels, distances.argmin(axis=1))
    assert np.array_equal(fit.labels, assign(digits, fit.centroids))
    assert fit.inertia == pytest.approx(distances.min(axis=1).sum(), rel=1e-6)


def test_spherical_centroids_are_unit_and_labels_are_by_cosine(digits):
    fit = fit_kmeans(digits, 20, spherical=True, n_iter=50, seed=0)
    assert np.allclose(np.linalg.norm(fit.centroids, axis=1), 1, atol=1e-5)
    unit = digits / np.linalg.norm(digits, axis=1, keepdims=True)
    assert np.array_equal(fit.labels, (unit @ fit.centroids.T).argmax(axis=1))
    scaled = digits * np.random.default_rng(0).uniform(0.1, 9, (len(digits), 1)).astype(np.float32)
    assert (fit.labels == assign(scaled, fit.centroids, spherical=True)).mean() > 0.999
    assert fit.inertia == pytest.approx((2 - 2 * (unit @ fit.centroids.T).max(axis=1)).sum(), rel=1e-4)


def test_far_from_the_origin_is_as_good_as_at_it(digits):
    x = digits / 16
    near, far = fit_kmeans(x, 10, seed=3), fit_kmeans(x + 1000, 10, seed=3)
    assert far.inertia == pytest.approx(near.inertia, rel=0.01)


def test_same_seed_is_bit_equal_and_another_differs(digits):
    first, again, other = (fit_kmeans(digits, 32, seed=s) for s in (1, 1, 2))
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert first.inertia == again.inertia
    assert not np.array_equal(first.labels, other.labels)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), share=st.floats(0, 1), spherical=st.booleans(), seed=st.integers(0, 99))
def test_no_cluster_is_empty(n, share, spherical, seed):
    x = np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)
    k = 1 + int(share * (n - 1))
    fit = fit_kmeans(x, k, spherical=spherical, n_iter=3, seed=seed)
    assert np.bincount(fit.labels, minlength=k).min() >= 1


def test_every_distinct_point_of_heavy_duplicates_gets_its_cluster():
    points = np.arange(7, dtype=np.float32)[:, None]
    x = np.repeat(points, [200, 1, 1, 1, 1, 1, 1], axis=0)
    for seed in range(5):
        fit = fit_kmeans(x, 7, n_iter=1, seed=seed)
        assert sorted(np.bincount(fit.labels)) == [1] * 6 + [200]
        assert fit.inertia == pytest.approx(0, abs=1e-9)


def test_faiss_prints_no_warning_and_does_not_subsample():
    code = (
        "import numpy as np; from tasks.clustering.kmeans import fit_kmeans;"
        "x = np.random.default_rng(0).standard_normal((40, 2)); fit_kmeans(x, 8, seed=0);"
        "x = np.r_[np.zeros((5000, 1)), np.ones((1, 1))]; f = fit_kmeans(x, 1, seed=0);"
        "assert abs(f.centroids[0, 0] - 1 / 5001) < 1e-8, f.centroids"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rejects_rows_that_are_not_finite(bad):
    x = np.ones((4, 2))
    x[2, 1] = bad
    with pytest.raises(ValueError, match="x: 1 rows hold NaN or infinity, first row 2"):
        fit_kmeans(x, 2, seed=0)
    with pytest.raises(ValueError, match="centroids: 1 rows"):
        assign(np.ones((3, 2)), x)


def test_rejects_other_bad_input():
    x = np.random.default_rng(0).standard_normal((5, 2))
    with pytest.raises(ValueError, match="k = 6 is more than the 5 rows"):
        fit_kmeans(x, 6, seed=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        fit_kmeans(x, 0, seed=0)
    with pytest.raises(ValueError, match="n_iter must be at least 1"):
        fit_kmeans(x, 2, n_iter=0, seed=0)
    with pytest.raises(ValueError, match="n_init must be at least 1"):
        fit_kmeans(x, 2, n_init=0, seed=0)
    with pytest.raises(ValueError, match="x must be a non-empty"):
        fit_kmeans(x[:0], 1, seed=0)
    with pytest.raises(ValueError, match="x: row 0 is zero"):
        fit_kmeans(np.zeros((5, 2)), 2, spherical=True, seed=0)
    with pytest.raises(ValueError, match="k = 3 is more than the 2 distinct rows"):
        fit_kmeans(np.repeat(x[:2], 4, axis=0), 3, seed=0)
    with pytest.raises(ValueError, match="centroids have dimension 3, x has 2"):
        assign(x, np.ones((2, 3)))
