import faiss
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tasks.clustering import knn_graph
from tasks.clustering.knn_graph import neighbours, recall


def table(n: int, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def brute_force(x: np.ndarray, k: int) -> np.ndarray:
    """Distances to the k nearest other rows."""
    d = cdist(x.astype(np.float64), x.astype(np.float64))
    np.fill_diagonal(d, np.inf)
    return np.sort(d, axis=1)[:, :k]


@pytest.mark.parametrize("k", [1, 5, 59])
def test_flat_is_brute_force_without_the_row_itself(k):
    x = table(60)
    found = neighbours(x, k, at_least=1)
    assert found.index == "flat"
    assert np.allclose(found.distances, brute_force(x, k), rtol=1e-12)
    assert (found.ids != np.arange(60)[:, None]).all()
    assert all(len(set(row)) == k for row in found.ids.tolist())


def test_duplicates_do_not_hide_the_row_itself_and_lie_at_exactly_zero():
    x = np.repeat(table(10, 16) * 100, 8, axis=0)
    found = neighbours(x, 7, at_least=3, index="flat")
    assert (found.distances == 0).all()
    assert (found.ids != np.arange(80)[:, None]).all()


def test_far_from_the_origin_distances_do_not_cancel():
    x = table(50) * 1e-2 + 1000
    assert np.allclose(neighbours(x, 5, at_least=1, index="flat").distances[:, 0], brute_force(x, 1)[:, 0], rtol=1e-9)


def test_inverted_lists_find_nearly_all_and_recall_says_how_many():
    x = table(1500, 8)
    found = neighbours(x, 10, at_least=5, index="ivf")
    true = brute_force(x, 10)
    share = float((found.distances <= true[:, -1:] * (1 + 1e-6)).mean())
    assert 0.8 < share < 1.0
    assert recall(x, found, rows=1500) == pytest.approx(share, abs=1e-6)
    assert (found.ids != np.arange(1500)[:, None]).all()


def test_rows_with_too_few_neighbours_are_searched_in_more_lists(monkeypatch):
    monkeypatch.setattr(knn_graph, "PROBES", 1)
    # A far pair has a list of its own: one probe finds one neighbour each.
    x = np.concatenate([table(2000), np.full((2, 4), 1000, np.float32) + table(2)])
    few = neighbours(x, 8, at_least=1, index="ivf")
    enough = neighbours(x, 8, at_least=8, index="ivf")
    assert (few.ids[-2:, 0] >= 0).all()
    assert (few.ids[-2:] < 0).any()
    assert (enough.ids >= 0).all()
    assert np.isfinite(enough.distances).all()


def test_blocks_do_not_matter(monkeypatch):
    x = table(3000, 8)
    for index in ("flat", "ivf"):
        whole = neighbours(x, 6, at_least=3, index=index)
        monkeypatch.setattr(knn_graph, "BLOCK", 777)
        parts = neighbours(x, 6, at_least=3, index=index)
        monkeypatch.undo()
        assert np.array_equal(whole.ids, parts.ids)
        assert np.array_equal(whole.distances, parts.distances)


def test_bad_input():
    x = table(20)
    with pytest.raises(ValueError, match="n_neighbors = 3 is below min_samples = 4"):
        neighbours(x, 3, at_least=4)
    with pytest.raises(ValueError, match="n_neighbors = 20 for 20 rows"):
        neighbours(x, 20, at_least=4)
    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        with pytest.raises(ValueError, match="gpu_ivf needs faiss-gpu"):
            neighbours(x, 5, at_least=4, index="gpu_ivf")
