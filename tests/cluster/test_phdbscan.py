import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from tasks.artifacts import Clusters, Representation
from tasks.cluster.hdbscan import hdbscan
from tasks.cluster.phdbscan import phdbscan
from tasks.clustering import knn_graph


def representation(x: np.ndarray) -> Representation:
    unit = np.arange(len(x))
    return Representation(
        {"units": pd.DataFrame({"unit": unit, "sample": unit + 7})}, {"embedding": np.asarray(x, dtype=np.float32)}
    )


def blobs(n: int = 400, seed: int = 0, centers: int = 6, d: int = 3) -> np.ndarray:
    x, _ = make_blobs(n, d, centers=centers, cluster_std=0.8, random_state=seed)
    x[: n // 10] = np.random.default_rng(seed).uniform(-12, 12, (n // 10, d))
    return x.astype(np.float32)


def labels(result: Clusters) -> np.ndarray:
    result.check()
    return result.tables["units"]["cluster"].to_numpy()


@pytest.mark.parametrize("seed", range(6))
def test_all_neighbours_give_exact_hdbscan(seed):
    x = blobs(seed=seed)
    mine = labels(phdbscan(representation(x), min_cluster_size=10, min_samples=5, n_neighbors=399, index="flat"))
    exact = labels(hdbscan(representation(x), min_cluster_size=10, min_samples=5))
    assert mine.max() >= 2
    # Equal core distances are ties, which may be broken otherwise: single points on the rim.
    assert adjusted_rand_score(mine, exact) > 0.99
    assert ((mine >= 0) == (exact >= 0)).mean() > 0.99


def test_scikit_learn_counts_the_point_itself():
    x = blobs()
    raw = HDBSCAN(min_cluster_size=10, min_samples=6, copy=True).fit(x).labels_
    assert adjusted_rand_score(raw, labels(hdbscan(representation(x), min_cluster_size=10, min_samples=5))) == 1


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_neighbours_give_nearly_exact_hdbscan(seed):
    x = blobs(1500, seed, d=6)
    exact = labels(hdbscan(representation(x), min_cluster_size=15, min_samples=8))
    for index in ("flat", "cells", "ivf"):
        mine = labels(phdbscan(representation(x), min_cluster_size=15, min_samples=8, index=index))
        assert adjusted_rand_score(mine, exact) > 0.95


@pytest.mark.slow
def test_many_units_agree_with_exact_hdbscan():
    """Above 10,000 units, in cells: separable blobs in noise."""
    x, _ = make_blobs(12_000, 16, centers=50, center_box=(-10, 10), random_state=0)
    x[:600] = np.random.default_rng(0).uniform(-10, 10, (600, 16))
    result = phdbscan(representation(x), min_cluster_size=50, min_samples=10)
    assert result.meta["index"] == "cells"
    assert result.meta["recall"] >= 0.95
    exact = labels(hdbscan(representation(x), min_cluster_size=50, min_samples=10))
    assert adjusted_rand_score(labels(result), exact) >= 0.95


def test_what_is_handed_on():
    result = phdbscan(representation(blobs()), min_cluster_size=10, min_samples=5)
    cluster, n = labels(result), 400
    membership, tree = result.arrays["membership"], result.tables["condensed_tree"]
    assert result.meta["n_clusters"] == cluster.max() + 1 == tree["selected"].sum()
    assert result.meta["noise_share"] == (cluster < 0).mean()
    assert (membership[cluster < 0] == 0).all()
    assert ((membership > 0) & (membership <= 1))[cluster >= 0].all()
    assert np.array_equal(result.tables["units"]["sample"], np.arange(n) + 7)
    assert len(result.tables["spanning_tree"]) == n - 1
    assert sorted(tree["child"][tree["child"] < n]) == list(range(n))
    assert result.meta["recall"] == 1.0


def test_clean_blobs_fall_into_pieces_that_are_joined_again():
    x = blobs(600, centers=12, d=2)[60:] * 50
    result = phdbscan(representation(x), min_cluster_size=15, min_samples=5)
    assert result.meta["pieces"] > 1
    assert result.meta["rounds"] >= 1
    exact = labels(hdbscan(representation(x), min_cluster_size=15, min_samples=5))
    assert adjusted_rand_score(labels(result), exact) > 0.97


def test_pieces_left_apart_are_clusters_of_their_own():
    x = np.concatenate([np.random.default_rng(c).standard_normal((40, 2)) + 100 * c for c in range(3)])
    result = phdbscan(representation(x), min_cluster_size=30, min_samples=5, connect="none")
    assert np.array_equal(labels(result)[[0, 40, 80]], [0, 1, 2])
    assert len(result.tables["spanning_tree"]) == 117


def test_nothing_is_random_and_the_order_of_rows_only_renames():
    x = blobs(1200)
    one = phdbscan(representation(x), min_cluster_size=12, min_samples=5, index="ivf")
    two = phdbscan(representation(x), min_cluster_size=12, min_samples=5, index="ivf")
    assert np.array_equal(labels(one), labels(two))
    assert one.arrays["membership"].tobytes() == two.arrays["membership"].tobytes()
    order = np.random.default_rng(1).permutation(1200)
    moved = labels(phdbscan(representation(x[order]), min_cluster_size=12, min_samples=5, index="flat"))
    assert adjusted_rand_score(labels(one)[order], moved) > 0.98


@pytest.mark.parametrize("connect", ["sampled", "exact", "none"])
@pytest.mark.parametrize("single", [False, True])
def test_constant_rows_are_no_cluster_or_one(connect, single):
    result = phdbscan(
        representation(np.ones((50, 3))), min_cluster_size=5, min_samples=3, n_neighbors=6, connect=connect,
        allow_single_cluster=single,
    )  # fmt: skip
    assert np.isfinite(result.arrays["membership"]).all()
    assert len(set(labels(result))) == 1


def test_groups_of_duplicates_are_clusters():
    x = np.repeat(np.random.default_rng(0).standard_normal((4, 3)), 30, axis=0)
    result = phdbscan(representation(x), min_cluster_size=10, min_samples=5)
    assert np.array_equal(labels(result), np.repeat(np.arange(4), 30))
    assert (result.arrays["membership"] == 1).all()
    assert len(result.tables["spanning_tree"]) == 119


@pytest.mark.parametrize("step", [phdbscan, hdbscan])
def test_fewer_units_than_a_cluster_are_noise(step):
    result = step(representation(blobs(8)), min_cluster_size=10, min_samples=5)
    assert (labels(result) == -1).all()
    assert (result.meta["n_clusters"], result.meta["noise_share"]) == (0, 1.0)


@pytest.mark.parametrize("step", [phdbscan, hdbscan])
def test_bad_input(step):
    x = blobs(40)
    x[17, 1] = np.nan
    with pytest.raises(ValueError, match="row 17 is not finite"):
        step(representation(x), min_cluster_size=5, min_samples=3)
    with pytest.raises(ValueError, match="min_samples = 12 for 12 units"):
        step(representation(blobs(12)), min_cluster_size=5, min_samples=12)
    with pytest.raises(ValueError, match="n_neighbors = 4 is below min_samples = 5"):
        phdbscan(representation(blobs()), min_samples=5, n_neighbors=4)


def test_more_neighbours_than_there_are_means_all():
    result = phdbscan(representation(blobs(30)), min_cluster_size=5, min_samples=3, n_neighbors=500)
    exact = hdbscan(representation(blobs(30)), min_cluster_size=5, min_samples=3)
    assert adjusted_rand_score(labels(result), labels(exact)) > 0.9


def test_a_poor_index_is_named(monkeypatch):
    x = representation(blobs(900))
    monkeypatch.setattr(knn_graph, "recall", lambda x, ids, rows: 0.5)
    with pytest.warns(UserWarning, match=r"index ivf finds 0\.500 of the neighbours"):
        assert phdbscan(x, index="ivf").meta["recall"] == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phdbscan(x, index="flat")


@pytest.mark.parametrize("name", ["sipu/r15", "sipu/d31", "sipu/unbalance", "fcps/lsun", "fcps/target"])
def test_real_benchmarks(real_data, name):
    """The clustering suites of Franti & Sieranoja (sipu) and Ultsch (fcps): as exact HDBSCAN finds them."""
    path = real_data / "clustering-benchmarks" / f"{name}.data.gz"
    if not path.is_file():
        pytest.skip(f"no {name}")
    x = representation(np.loadtxt(path)[::2])
    mine = labels(phdbscan(x, min_cluster_size=10, min_samples=5))
    exact = labels(hdbscan(x, min_cluster_size=10, min_samples=5))
    assert adjusted_rand_score(mine, exact) > 0.95
