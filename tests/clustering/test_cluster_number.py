import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from tasks.clustering.cluster_number import ClusterNumber, estimate_cluster_number


@pytest.mark.parametrize("k", [3, 6])
def test_clear_clusters_are_counted(k):
    x, _ = make_blobs(150, centers=30 * np.eye(8)[:k], random_state=0)
    best, tried, means = estimate_cluster_number(x, ClusterNumber(most=9), n_iter=30, seed=0)
    assert best == k
    assert tried.tolist() == list(range(2, 10))
    labels = KMeans(k, n_init=10, random_state=0).fit_predict(x)
    assert means[k - 2] == pytest.approx(silhouette_score(x, labels), abs=1e-6)


def test_k_ends_at_rows_less_one():
    x = np.random.default_rng(0).normal(size=(6, 2))
    _, tried, _ = estimate_cluster_number(x, ClusterNumber(n_init=2, runs=1), n_iter=10, seed=0)
    assert tried.tolist() == [2, 3, 4, 5]


def test_k_ends_at_the_distinct_rows():
    x = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 5, axis=0)
    best, tried, _ = estimate_cluster_number(x, ClusterNumber(n_init=2, runs=1), n_iter=10, seed=0)
    assert tried.tolist() == [2, 3, 4]
    assert best == 4


def test_no_k_can_be_scored():
    for x in (np.eye(2), np.ones((9, 2))):
        with pytest.raises(ValueError, match="2 <= k <= rows - 1"):
            estimate_cluster_number(x, ClusterNumber(), n_iter=10, seed=0)
    with pytest.raises(ValueError, match="least = 5 is above most = 3"):
        estimate_cluster_number(np.eye(9), ClusterNumber(least=5, most=3), n_iter=10, seed=0)


def test_many_rows_are_sampled(monkeypatch):
    from tasks.clustering import cluster_number

    sizes = []
    monkeypatch.setattr(cluster_number, "silhouette_score", lambda x, labels: float(sizes.append(len(x)) or 0.0))
    x = np.random.default_rng(0).normal(size=(500, 2))
    settings = ClusterNumber(most=3, runs=1, n_init=1, max_rows=120)
    estimate_cluster_number(x, settings, n_iter=5, seed=0)
    assert sizes == [120, 120]


def test_seed():
    x = np.random.default_rng(0).normal(size=(80, 6))
    settings = ClusterNumber(most=6, runs=1, n_init=1)
    first, again, other = (estimate_cluster_number(x, settings, n_iter=3, seed=s)[2] for s in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
