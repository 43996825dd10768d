"""Block model: edge counts, attributes, what is granted."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import graph_of
from tasks.graphs.vertex_dataset import NoisyLabels
from tasks.prepare.local_sbm import local_sbm

NOISY = [NoisyLabels(a1=0.9, a0=0.7), NoisyLabels(a1=1.0, a0=0.0)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return local_sbm(n=1000, cluster_size=100, p=0.2, q=0.01, noisy_labels=NOISY)


def test_edges_appear_with_probabilities_p_and_q(dataset: Dataset) -> None:
    graph, block = graph_of(dataset), dataset.samples["label"].to_numpy(dtype=int)
    source = np.repeat(np.arange(1000), graph.degrees())
    same = block[source] == block[graph.indices]
    inside, between = same.sum() / 2, (~same).sum() / 2
    pairs = 10 * 100 * 99 / 2
    assert abs(inside - 0.2 * pairs) < 5 * np.sqrt(0.16 * pairs)
    assert abs(between - 0.01 * 450_000) < 5 * np.sqrt(0.01 * 450_000)
    # Every vertex of a block is alike: its ends are spread evenly over the block.
    per_vertex = np.bincount(source[same], minlength=1000).reshape(10, 100).mean(axis=0)
    assert per_vertex.min() > 19.8 - 6 * np.sqrt(19.8 / 10)
    assert per_vertex.max() < 19.8 + 6 * np.sqrt(19.8 / 10)


@pytest.mark.parametrize(("p", "q", "edges"), [(1.0, 0.0, 2 * 15), (0.0, 1.0, 36), (0.0, 0.0, 0)])
def test_sure_edges(p: float, q: float, edges: int) -> None:
    made = local_sbm(n=12, cluster_size=6, p=p, q=q, labelled_per_class=1)
    assert made.arrays["indptr"][-1] == 2 * edges


def test_attributes_have_the_blocks_mean(dataset: Dataset) -> None:
    x = dataset.arrays["attributes"].reshape(10, 100, 20)
    norms = np.linalg.norm(x.mean(axis=1), axis=1)
    np.testing.assert_allclose(norms, np.sqrt(2.5**2 + 20 / 100), atol=0.5)
    assert abs((x - x.mean(axis=1, keepdims=True)).std() - 1) < 0.02


def test_what_is_granted(dataset: Dataset) -> None:
    given = dataset.samples["given_label"]
    assert given.notna().sum() == 10 * 30
    assert (given.dropna() == dataset.samples["label"][given.notna()]).all()
    assert (dataset.arrays["target_size"] == 100).all()
    assert dataset.arrays["target_volume"].sum() == dataset.arrays["indptr"][-1]
    assert "label" not in dataset.without_truth().samples


def test_noisy_labels_are_as_accurate_as_asked(dataset: Dataset) -> None:
    member = dataset.samples["label"].to_numpy(dtype=int) == np.arange(10)[:, None]
    noisy = dataset.arrays["noisy_labels"] == 1
    assert abs(noisy[0][member].mean() - 0.9) < 0.05
    assert abs((~noisy[0][~member]).mean() - 0.7) < 0.03
    assert noisy[1].all()  # a1 = 1, a0 = 0: everything is called 1


def test_seeds(dataset: Dataset) -> None:
    again = local_sbm(n=1000, cluster_size=100, p=0.2, q=0.01, noisy_labels=NOISY)
    other = local_sbm(n=1000, cluster_size=100, p=0.2, q=0.01, noisy_labels=NOISY, seed=1)
    for name, array in dataset.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    for name in ("indices", "attributes", "noisy_labels"):
        assert not np.array_equal(dataset.arrays[name], other.arrays[name])
    # Labels at other accuracies leave graph and grants as they are.
    fewer = local_sbm(n=1000, cluster_size=100, p=0.2, q=0.01)
    np.testing.assert_array_equal(fewer.arrays["indices"], dataset.arrays["indices"])
    assert fewer.samples.equals(dataset.samples)


def test_block_size_must_divide() -> None:
    with pytest.raises(ValueError, match="cluster_size: 30 does not divide n = 100"):
        local_sbm(n=100, cluster_size=30)
