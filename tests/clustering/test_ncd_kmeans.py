import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from tasks.clustering.ncd_kmeans import fit_ncd_kmeans, ncd_seeding

NONE = np.empty((0, 2))


def test_without_known_centroids_seeding_is_k_means_plus_plus_in_distribution():
    """Counts of unordered pairs of seeds against the probabilities written out: 1/n, then d^2 over their sum."""
    x = np.array([[0.0, 0], [1, 0], [3, 0], [3, 4]])
    square = np.square(x[:, None] - x[None]).sum(axis=2)
    probability = square / square.sum(axis=1, keepdims=True) / 4
    rng = np.random.default_rng(0)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[tuple(ncd_seeding(x, NONE, 2, power=2, rng=rng))] += 1
    off = ~np.eye(4, dtype=bool)
    assert counts[~off].sum() == 0
    assert chisquare(counts[off], 4000 * probability[off]).pvalue > 1e-3
    # Plain distances are another distribution, which the same test tells apart.
    assert (
        chisquare(counts[off], 4000 * (np.sqrt(square) / np.sqrt(square).sum(1, keepdims=True) / 4)[off]).pvalue < 1e-3
    )


@pytest.mark.parametrize("power", [1, 2])
def test_first_seed_keeps_away_from_known_centroids(power):
    x, known = np.array([[0.0, 0], [1, 0], [2, 0]]), np.array([[0.0, 0]])
    rng = np.random.default_rng(0)
    first = np.array([ncd_seeding(x, known, 1, power=power, rng=rng)[0] for _ in range(3000)])
    share = np.bincount(first, minlength=3) / 3000
    weight = np.array([0, 1, 2.0]) ** power
    np.testing.assert_allclose(share, weight / weight.sum(), atol=0.03)


def test_known_centroids_are_never_moved_and_never_chosen():
    x, y = make_blobs(120, centers=[[0, 0], [5, 5], [9, 0]], cluster_std=0.5, random_state=0)
    known = np.array([[0.0, 0], [20, 20]])
    before = known.copy()
    fit = fit_ncd_kmeans(x, known, 3, seed=0)
    assert known.tobytes() == before.tobytes()
    # One known centroid lies amid a novel class: its rows still go to a novel centroid.
    assert adjusted_rand_score(y, fit.labels) == 1


def test_agrees_with_scikit_learn_on_clear_clusters():
    x, _ = make_blobs(200, centers=5, n_features=4, cluster_std=0.4, random_state=3)
    fit = fit_ncd_kmeans(x, x[:0], 5, n_init=10, seed=0)
    reference = KMeans(5, n_init=10, random_state=0).fit(x)
    assert adjusted_rand_score(reference.labels_, fit.labels) == 1
    assert fit.inertia == pytest.approx(reference.inertia_, rel=1e-4)


def test_inertia_is_of_the_power_and_the_least_of_the_starts():
    x, _ = make_blobs(90, centers=6, random_state=1)
    for power in (1, 2):
        fit = fit_ncd_kmeans(x, x[:0], 4, power=power, n_init=8, seed=0)
        distance = np.linalg.norm(x - fit.centroids[fit.labels], axis=1)
        assert fit.inertia == pytest.approx(float((distance**power).sum()), rel=1e-5)
        assert fit.inertia <= fit_ncd_kmeans(x, x[:0], 4, power=power, n_init=1, seed=0).inertia


def test_more_seeds_than_distinct_rows_leave_a_centroid_empty_and_fixed():
    x = np.repeat([[0.0, 0], [1, 1]], 3, axis=0)
    fit = fit_ncd_kmeans(x, NONE, 3, n_init=2, seed=0)
    assert len(fit.centroids) == 3
    assert fit.inertia == 0
    assert np.isfinite(fit.centroids).all()


def test_k_out_of_range():
    for k in (0, 4):
        with pytest.raises(ValueError, match=r"k must be 1\.\.3"):
            fit_ncd_kmeans(np.eye(3), np.empty((0, 3)), k, seed=0)


def test_seed():
    x, _ = make_blobs(60, centers=6, cluster_std=3, random_state=0)
    first, again, other = (fit_ncd_kmeans(x, x[:2], 5, n_init=1, seed=s) for s in (0, 0, 1))
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.centroids.tobytes() != other.centroids.tobytes()
