import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.cluster.gmm import gmm
from tasks.cluster.kmeans_sdp import kmeans_sdp
from tasks.cluster.la_sdp import Admm, la_sdp
from tasks.clustering.la_sdp import hard_blocks, solve_sdp
from tasks.clustering.starts import start_labels

FAST = Admm(steps=150, tol=1e-3)


def make(x, test=0):
    n = len(x)
    split = pd.Series(["train"] * (n - test) + ["test"] * test, dtype="str")
    index = np.arange(n, dtype=np.int64)
    dataset = Dataset({"samples": pd.DataFrame({"sample": index, "split": split})})
    units = pd.DataFrame({"unit": index, "sample": index})
    return dataset, Representation({"units": units}, {"embedding": np.asarray(x, dtype=np.float32)})


def blobs(distance=30.0, each=8, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), each)
    x = (
        rng.normal(size=(3 * each, 3)) * np.array([[1, 2, 1], [2, 1, 1], [1, 1, 2]])[truth]
        + distance * np.eye(3)[truth]
    )
    return x, truth


def same_partition(a, b):
    return np.array_equal(a[:, None] == a, b[:, None] == b)


def test_well_separated_groups_are_found_exactly():
    """The residuals are relative to the largest costs, those between far groups, so `tol` has to be small here."""
    x, truth = blobs(distance=60.0)
    result = la_sdp(*make(x), k=3, init="kmeans", n_init=1, rounds=1, admm=Admm(steps=3000, tol=1e-6), seed=0)
    result.check()
    label = result.tables["units"]["cluster"].to_numpy()
    assert same_partition(label, truth)
    np.testing.assert_allclose(result.arrays["blocks_last"], hard_blocks(label, 3), atol=1e-2)
    assert result.arrays["membership"].sum(axis=1) == pytest.approx(1)
    assert same_partition(kmeans_sdp(*make(x), k=3, seed=0).tables["units"]["cluster"].to_numpy(), truth)
    assert same_partition(gmm(*make(x), k=3, init="kmeans", seed=0).tables["units"]["cluster"].to_numpy(), truth)


def test_shift_changes_nothing_and_order_only_the_order():
    x, _ = blobs(distance=6.0)
    options = {"k": 3, "init": "hierarchical", "rounds": 3, "admm": FAST, "seed": 0}
    label = la_sdp(*make(x), **options).tables["units"]["cluster"].to_numpy()
    moved = la_sdp(*make(x + 64.0), **options).tables["units"]["cluster"].to_numpy()
    assert same_partition(label, moved)
    order = np.random.default_rng(1).permutation(len(x))
    permuted = la_sdp(*make(x[order]), **options).tables["units"]["cluster"].to_numpy()
    assert same_partition(label[order], permuted)


def test_equal_covariances_are_refused(monkeypatch):
    x, _ = blobs()
    equal = np.stack([np.cov(x.T)] * 3)
    monkeypatch.setattr("tasks.cluster.la_sdp.label_covariances", lambda *_: equal)
    with pytest.raises(ValueError, match=r"init: the groups came out equal.*kmeans_sdp"):
        la_sdp(*make(x), k=3, rounds=1, admm=Admm(steps=300), seed=0)


def test_same_seed_same_bits_other_seed_other_start():
    x, _ = blobs(distance=2.0)
    first, second, other = (la_sdp(*make(x), k=3, n_init=2, rounds=2, admm=FAST, seed=s) for s in (0, 0, 1))
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])
    assert not np.array_equal(first.arrays["covariances"], other.arrays["covariances"])


def test_em_has_the_very_same_starts(monkeypatch):
    x, _ = blobs(distance=2.0)
    seen = []

    def spy(*arguments):
        seen.append(start_labels(*arguments))
        return seen[-1]

    monkeypatch.setattr("tasks.cluster.la_sdp.start_labels", spy)
    monkeypatch.setattr("tasks.cluster.gmm.start_labels", spy)
    la_sdp(*make(x), k=3, n_init=2, rounds=1, admm=FAST, seed=5)
    gmm(*make(x), k=3, n_init=2, seed=5)
    np.testing.assert_array_equal(*seen)


def test_a_solver_that_stopped_early_is_marked():
    x, _ = blobs(distance=3.0)
    stopped = la_sdp(*make(x), k=3, n_init=1, rounds=1, admm=Admm(steps=3), seed=0)
    assert stopped.meta["not_converged"]
    assert stopped.meta["primal_residual"] > 1e-2
    assert not la_sdp(*make(x), k=3, n_init=1, rounds=1, admm=Admm(steps=2000), seed=0).meta["not_converged"]


def test_warm_start_takes_fewer_steps():
    rng = np.random.default_rng(0)
    cost = rng.random((2, 12, 12))
    cost = cost + cost.transpose(0, 2, 1)
    cold = solve_sdp(cost, 1.0, steps=3000, tol=1e-4)
    assert solve_sdp(cost, 1.0, steps=3000, tol=1e-4, state=cold.state).steps < cold.steps / 3


@pytest.mark.parametrize("init", ["random", "kmeans", "kmeans_sdp", "hierarchical"])
def test_every_start_fills_every_group(init):
    x, _ = blobs(distance=2.0)
    starts = start_labels(x, 3, init, 3, 0)
    assert starts.dtype == np.int64
    assert all(np.array_equal(np.unique(start), np.arange(3)) for start in starts)
    assert len(starts) == (3 if init in ("random", "kmeans") else 1)


def test_test_points_and_the_rest_of_a_subsample_have_no_cluster():
    x, _ = blobs(distance=20.0)
    cluster = la_sdp(*make(x, test=4), k=3, init="kmeans", rounds=1, admm=FAST, subsample=15, seed=0).tables["units"][
        "cluster"
    ]
    assert (cluster[-4:] == -1).all()
    assert (cluster >= 0).sum() == 15


@pytest.mark.parametrize("step", [la_sdp, kmeans_sdp, gmm])
@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.ones((6, 2)), 2, "all points are equal"),
        (np.array([[0.0, 1], [np.nan, 2], [3, 4]]), 2, "NaN or infinite"),
        (np.eye(3), 4, "k = 4 must be at least 2 and at most the 3 points"),
        (np.eye(3), 1, "k = 1 must be at least 2"),
    ],
)
def test_bad_input(step, x, k, message):
    with pytest.raises(ValueError, match=message):
        step(*make(x), k=k, seed=0)


@pytest.mark.parametrize("step", [la_sdp, kmeans_sdp])
def test_too_many_points_name_the_remedy(step):
    with pytest.raises(ValueError, match=r"max_points: 24 points.*subsample"):
        step(*make(blobs()[0]), k=3, max_points=20, seed=0)
