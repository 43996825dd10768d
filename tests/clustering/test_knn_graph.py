import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tasks.clustering import cells, knn_graph
from tasks.clustering.knn_graph import neighbours, recall
from tasks.clustering.threads import in_threads


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
    assert recall(x, found.ids, np.arange(1500)) == pytest.approx(share, abs=1e-6)
    assert found.recall == pytest.approx(share, abs=0.02)
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


def blobs(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    """30 blobs, one in ten rows far from all."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-10, 10, (30, d))[rng.integers(30, size=n)] + rng.standard_normal((n, d))
    x[::10] = rng.uniform(-20, 20, (len(x[::10]), d))
    return x.astype(np.float32)


@pytest.mark.parametrize(("n", "k"), [(300, 5), (3000, 16), (1500, 300)])
def test_cells_find_95_percent_and_say_how_many(n, k):
    x = blobs(n)
    found = neighbours(x, k, at_least=k, index="cells")
    assert recall(x, found.ids, np.arange(n)) >= 0.94
    assert found.recall >= 0.95
    assert (found.ids >= 0).all()
    assert (found.ids != np.arange(n)[:, None]).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()
    gap = x[found.ids].astype(np.float64) - x[:, None]
    assert np.allclose(found.distances, np.sqrt((gap**2).sum(2)), rtol=1e-4)


def test_recall_of_cells_is_what_their_candidates_hold(monkeypatch):
    """Rows of few candidates: the share found of true neighbours, counted without knowing of cells."""
    monkeypatch.setattr(cells, "CELL", 32)
    monkeypatch.setattr(cells, "FEWEST", 64)
    monkeypatch.setattr(cells, "MOST", 64)
    x = table(1000, 12)
    found = neighbours(x, 10, at_least=5, index="cells")
    assert 0.1 < found.recall < 0.9
    assert found.recall == pytest.approx(recall(x, found.ids, np.arange(1000)), abs=1e-9)


def test_more_candidates_where_neighbours_are_far_apart(monkeypatch):
    monkeypatch.setattr(cells, "CELL", 32)
    monkeypatch.setattr(cells, "FEWEST", 64)
    seen = []
    genuine = cells.closest
    monkeypatch.setattr(cells, "closest", lambda q, c, k: seen.append(len(c)) or genuine(q, c, k))
    for d in (2, 16):
        seen.append(0)
        neighbours(table(2000, d), 10, at_least=5, index="cells")
    plane, space = np.array(seen[1 : seen.index(0, 1)]), np.array(seen[seen.index(0, 1) + 1 :])
    assert plane.max() < 300
    assert space.mean() > 2 * plane.mean()


@given(st.integers(1, 200), st.integers(1, 400), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_closest_is_brute_force(rows, count, k, d, seed):
    rng = np.random.default_rng(seed)
    q, c = rng.standard_normal((rows, d)).astype(np.float32), rng.standard_normal((count, d)).astype(np.float32)
    k = min(k, count)
    squared, at = cells.closest(q, c, k)
    full = cdist(q.astype(float), c.astype(float), "sqeuclidean")
    assert np.allclose(squared, np.sort(full, axis=1)[:, :k], atol=1e-4)
    assert np.allclose(np.take_along_axis(full, at, 1), squared, atol=1e-4)
    assert all(len(set(row)) == k for row in at.tolist())


def test_threads_do_not_matter(monkeypatch):
    x, results = blobs(3000), []
    for threads in (1, 3):
        monkeypatch.setattr(faiss, "omp_get_max_threads", lambda threads=threads: threads)
        results.append(neighbours(x, 8, at_least=3, index="cells"))
    assert results[0].ids.tobytes() == results[1].ids.tobytes()
    assert results[0].distances.tobytes() == results[1].distances.tobytes()


def test_as_many_threads_at_once_as_faiss_may_use():
    before = faiss.omp_get_max_threads()
    meeting = threading.Barrier(2)
    try:
        faiss.omp_set_num_threads(2)
        # Each waits for the other: with one thread nobody would come.
        assert sorted(in_threads(lambda _: meeting.wait(timeout=30), range(2))) == [0, 1]
    finally:
        faiss.omp_set_num_threads(before)


def test_duplicates_in_cells_lie_at_exactly_zero_also_where_a_cell_is_cut():
    x = np.repeat(table(3, 16) * 100 + 1000, [2500, 10, 1500], axis=0)
    found = neighbours(x, 8, at_least=8, index="cells")
    assert (found.distances == 0).all()
    assert (found.ids != np.arange(4010)[:, None]).all()
    assert (x[found.ids] == x[:, None]).all()


def test_far_from_the_origin_distances_in_cells_do_not_cancel():
    x = blobs(3000) * np.float32(1e-3) + 1
    found = neighbours(x, 5, at_least=1, index="cells")
    assert found.recall >= 0.95
    gap = x[found.ids].astype(np.float64) - x[:, None]
    assert np.allclose(found.distances, np.sqrt((gap**2).sum(2)), rtol=1e-4)


def test_cells_are_a_function_of_the_data():
    one, two = (neighbours(blobs(3000), 8, at_least=3, index="cells") for _ in range(2))
    assert one.ids.tobytes() == two.ids.tobytes()
    assert one.distances.tobytes() == two.distances.tobytes()


def test_bad_input():
    x = table(20)
    with pytest.raises(ValueError, match="n_neighbors = 3 is below min_samples = 4"):
        neighbours(x, 3, at_least=4)
    with pytest.raises(ValueError, match="n_neighbors = 20 for 20 rows"):
        neighbours(x, 20, at_least=4)
    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        with pytest.raises(ValueError, match="gpu_ivf needs faiss-gpu"):
            neighbours(x, 5, at_least=4, index="gpu_ivf")
