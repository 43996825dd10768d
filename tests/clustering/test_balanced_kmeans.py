import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clustering.balanced_kmeans import capped_assignment, fit_balanced_kmeans


def greedy(similarity_NK: np.ndarray, cap: int) -> np.ndarray:
    """All (row, cluster) pairs by falling similarity, one after the other."""
    n, k = similarity_NK.shape
    pairs = sorted((-similarity_NK[i, j], i, j) for i in range(n) for j in range(k))
    labels, sizes = np.full(n, -1), np.zeros(k, dtype=int)
    for _, i, j in pairs:
        if labels[i] < 0 and sizes[j] < cap:
            labels[i] = j
            sizes[j] += 1
    return labels


@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 40), k=st.integers(1, 7), room=st.integers(0, 3), ties=st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_assignment_is_greedy_over_all_pairs(seed, n, k, room, ties):
    rng = np.random.default_rng(seed)
    similarity = rng.integers(3, size=(n, k)).astype(float) if ties else rng.normal(size=(n, k))
    cap = -(-n // k) + room
    assert capped_assignment(similarity, cap).tolist() == greedy(similarity, cap).tolist()


def test_full_cluster_is_skipped():
    similarity = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.6]])
    assert capped_assignment(similarity, 2).tolist() == [0, 0, 1]
    assert capped_assignment(similarity, 3).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="room for 2 of 3 rows"):
        capped_assignment(similarity, 1)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), k=st.integers(1, 12), spherical=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_row_once_no_cluster_above_the_cap_none_empty(seed, n, k, spherical):
    k = min(n, k)
    fit = fit_balanced_kmeans(np.random.default_rng(seed).normal(size=(n, 4)), k, spherical=spherical, seed=seed)
    sizes = np.bincount(fit.labels, minlength=k)
    assert sizes.sum() == n
    assert sizes.min() >= 1
    assert sizes.max() <= -(-n // k)
    assert fit.centroids.shape == (k, 4)


@pytest.mark.parametrize("spherical", [True, False])
def test_finds_balanced_groups(spherical):
    rng = np.random.default_rng(0)
    centres = np.eye(4) * 3
    truth = rng.permutation(np.repeat(np.arange(4), 15))
    fit = fit_balanced_kmeans(centres[truth] + 0.1 * rng.normal(size=(60, 4)), 4, spherical=spherical, seed=0)
    assert len(set(zip(truth, fit.labels, strict=True))) == 4
    if spherical:
        np.testing.assert_allclose(np.linalg.norm(fit.centroids, axis=1), 1, rtol=1e-6)


def test_splits_a_blob_that_plain_k_means_would_leave_whole():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(30, 2)), rng.normal(size=(2, 2)) + 100])
    assert np.bincount(fit_balanced_kmeans(x, 2, seed=0).labels).tolist() == [16, 16]


def test_scale_of_rows_does_not_matter_to_cosine():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    first, scaled = (fit_balanced_kmeans(y, 4, spherical=True, seed=1) for y in (x, x * rng.uniform(1, 9, (40, 1))))
    assert (first.labels == scaled.labels).all()


def test_inertia_is_the_sum_of_squared_distances():
    x = np.random.default_rng(0).normal(size=(20, 3))
    fit = fit_balanced_kmeans(x, 3, seed=0)
    assert fit.inertia == pytest.approx(np.square(x - fit.centroids[fit.labels]).sum(), rel=1e-5)


def test_equal_rows_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_balanced_kmeans(np.repeat([[1.0, 0.0], [0.0, 1.0]], [4, 1], axis=0), 4, spherical=True, seed=0)
    assert sorted(np.bincount(fit.labels).tolist()) == [1, 1, 1, 2]


def test_opposite_members_have_a_centre():
    fit = fit_balanced_kmeans(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1, spherical=True, seed=0)
    np.testing.assert_allclose(np.linalg.norm(fit.centroids, axis=1), 1)


def test_seed():
    x = np.random.default_rng(0).normal(size=(100, 3))
    first, again, other = (fit_balanced_kmeans(x, 10, seed=s) for s in (0, 0, 1))
    assert (first.labels == again.labels).all()
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize(
    ("x", "k", "options", "message"),
    [
        (np.array([[1.0, np.nan], [1.0, 1.0]]), 1, {}, "first row 0"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), 1, {"spherical": True}, "row 1 is zero"),
        (np.ones((2, 2)), 3, {}, r"k must be 1\.\.2"),
        (np.ones((2, 2)), 0, {}, r"k must be 1\.\.2"),
        (np.ones((2, 2)), 1, {"n_iter": 0}, "n_iter"),
        (np.ones((4, 2)), 2, {"cap": 1}, "raise cap"),
        (np.ones(4), 2, {}, "non-empty"),
    ],
)
def test_bad_input(x, k, options, message):
    with pytest.raises(ValueError, match=message):
        fit_balanced_kmeans(x, k, seed=0, **options)
