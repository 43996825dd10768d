"""Nearest neighbours of every row of a table among the other rows, by faiss.

Shape legend: N rows, D dimensions, K neighbours, B rows of a block.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np

from tasks import progress
from tasks.clustering.cells import cell_neighbours, closest
from tasks.clustering.threads import in_threads

Index = Literal["auto", "flat", "cells", "ivf", "gpu_ivf"]
FLAT_UP_TO = 10_000  # rows up to which comparing all pairs is quicker than building an index
BLOCK = 65_536
TRAINING_ROWS_PER_LIST = 40
TRAINING_ROUNDS = 10
PROBES = 16
RECALL_ROWS = 1000
COMPARED = 8192  # rows that those are compared with at once: the products stay in the cache


@dataclass(frozen=True)
class Neighbours:
    """`ids` int32 [N, K] without the row itself (-1: none found) and Euclidean `distances` [N, K], ascending.

    `recall` is the share of the true neighbours of 1,000 evenly spaced rows that were found.
    """

    ids: np.ndarray
    distances: np.ndarray
    index: str
    recall: float


def neighbours(x_ND: np.ndarray, k: int, *, at_least: int, index: Index = "auto") -> Neighbours:
    """The `k` nearest other rows of every row of `x_ND` (float32, finite).

    `flat` compares all pairs, and gives float64 distances computed as differences, so that duplicates are exactly 0
    apart. `cells` compares each row with as many rows of the cells around it as hold 95 % of the neighbours, 8192 at most
    (float32 distances). `ivf` looks into the 16 nearest of 4 sqrt(N) lists; rows with fewer than `at_least` neighbours there
    are searched again in twice as many lists, until they have them. `gpu_ivf` is the same on a GPU. `auto`: flat up to 10,000
    rows, else cells.
    Raises ValueError: `k` not below N, `at_least` above `k`, a GPU asked for that faiss does not have.
    """
    n = len(x_ND)
    if not 1 <= at_least <= k:
        raise ValueError(f"n_neighbors = {k} is below min_samples = {at_least}; raise n_neighbors")
    if k >= n:
        raise ValueError(f"n_neighbors = {k} for {n} rows: a row has {n - 1} neighbours; lower n_neighbors")
    if index == "auto":
        index = "flat" if n <= FLAT_UP_TO else "cells"
    if index == "gpu_ivf" and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise ValueError("index: gpu_ivf needs faiss-gpu and a GPU; set index: cells")
    rows_S = np.unique(np.linspace(0, n - 1, min(RECALL_ROWS, n)).astype(np.int64))
    if index == "cells":
        ids, squared, share = cell_neighbours(x_ND, k + 1, rows_S, true_neighbours(x_ND, rows_S, k))
        ids_NK, squared_NK = _without_self(np.arange(n), ids, squared)
        return Neighbours(ids_NK, np.sqrt(squared_NK), index, share)
    searcher: Any = _flat(x_ND) if index == "flat" else _inverted_lists(x_ND, gpu=index == "gpu_ivf")
    distance_type = np.float64 if index == "flat" else np.float32
    ids_NK, distances_NK = np.empty((n, k), np.int32), np.empty((n, k), distance_type)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        ids_BK, squared_BK = _without_self(rows, *_search(searcher, x_ND[rows], k + 1))
        _search_again(searcher, x_ND, rows, ids_BK, squared_BK, at_least)
        ids_NK[rows] = ids_BK
        if index == "flat":
            ids_NK[rows], distances_NK[rows] = _by_differences(x_ND, rows, ids_BK)
        else:
            distances_NK[rows] = np.sqrt(np.maximum(squared_BK, 0))
        progress.report(int(rows[-1]) + 1, n)
    return Neighbours(ids_NK, distances_NK, index, 1.0 if index == "flat" else recall(x_ND, ids_NK, rows_S))


def recall(x_ND: np.ndarray, ids_NK: np.ndarray, rows_S: np.ndarray) -> float:
    """Share of the true neighbours of the rows `rows_S` that are among `ids_NK`."""
    true_SK = true_neighbours(x_ND, rows_S, ids_NK.shape[1])
    return float((true_SK[:, :, None] == ids_NK[rows_S][:, None, :]).any(axis=2).mean())


def true_neighbours(x_ND: np.ndarray, rows_S: np.ndarray, k: int) -> np.ndarray:
    """Ids [S, K] of the `k` nearest other rows of the rows `rows_S`."""
    centre_D, starts = x_ND.mean(axis=0), range(0, len(x_ND), COMPARED)
    rows_SD = x_ND[rows_S] - centre_D

    def search(start: int) -> tuple[np.ndarray, np.ndarray]:
        block_BD = x_ND[start : start + COMPARED] - centre_D
        squared_SK, at_SK = closest(rows_SD, block_BD, min(k + 1, len(block_BD)))
        return squared_SK, at_SK + start

    squared_SR, ids_SR = (np.concatenate(parts, axis=1) for parts in zip(*in_threads(search, starts), strict=True))
    order_SK = np.argsort(squared_SR, axis=1, kind="stable")[:, : k + 1]
    ids_SK = np.take_along_axis(ids_SR, order_SK, 1)
    return _without_self(rows_S, ids_SK, ids_SK)[0]


def _flat(x_ND: np.ndarray) -> Any:
    searcher: Any = faiss.IndexFlatL2(x_ND.shape[1])
    searcher.add(x_ND)
    return searcher


def _inverted_lists(x_ND: np.ndarray, *, gpu: bool) -> Any:
    n, d = x_ND.shape
    lists = max(1, min(round(4 * math.sqrt(n)), n // TRAINING_ROWS_PER_LIST))
    quantizer: Any = faiss.IndexFlatL2(d)
    searcher: Any = faiss.IndexIVFFlat(quantizer, d, lists)
    searcher.own_fields = True
    quantizer.this.disown()
    searcher.cp.niter = TRAINING_ROUNDS
    searcher.cp.max_points_per_centroid = TRAINING_ROWS_PER_LIST
    if gpu:
        searcher = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, searcher)
    # Evenly spaced rows, so that the index (whose k-means has a seed of its own) is a function of the data alone.
    training = np.linspace(0, n - 1, min(n, lists * TRAINING_ROWS_PER_LIST)).astype(np.int64)
    searcher.train(x_ND[training])
    for start in range(0, n, BLOCK):
        searcher.add(x_ND[start : start + BLOCK])
    searcher.nprobe = min(PROBES, lists)
    return searcher


def _search(searcher: Any, x_BD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    squared_BK, ids_BK = searcher.search(np.ascontiguousarray(x_BD), k)
    return ids_BK, squared_BK


def _without_self(rows: np.ndarray, ids_BK: np.ndarray, squared_BK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each row's own id wherever it stands (among duplicates it need not be first), else the last column."""
    own_BK = ids_BK == rows[:, None]
    own_BK[~own_BK.any(axis=1), -1] = True
    shape = (len(rows), ids_BK.shape[1] - 1)
    return ids_BK[~own_BK].reshape(shape), squared_BK[~own_BK].reshape(shape)


def _search_again(
    searcher: Any, x_ND: np.ndarray, rows: np.ndarray, ids_BK: np.ndarray, squared_BK: np.ndarray, at_least: int
) -> None:
    """Search rows with too few neighbours in ever more lists, in place."""
    probes = getattr(searcher, "nprobe", 0)
    usual = probes
    while probes and probes < searcher.nlist:
        poor = np.flatnonzero((ids_BK >= 0).sum(axis=1) < at_least)
        if len(poor) == 0:
            break
        probes = min(2 * probes, searcher.nlist)
        searcher.nprobe = probes
        found = _search(searcher, x_ND[rows[poor]], ids_BK.shape[1] + 1)
        ids_BK[poor], squared_BK[poor] = _without_self(rows[poor], *found)
    if probes:
        searcher.nprobe = usual


def _by_differences(x_ND: np.ndarray, rows: np.ndarray, ids_BK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours ordered by float64 distance: the expansion |a|^2 + |b|^2 - 2ab, quick as it is, cancels."""
    x_ND = x_ND.astype(np.float64)
    distances_BK = np.empty(ids_BK.shape)
    few = max(1, 2**22 // (ids_BK.shape[1] * x_ND.shape[1]))
    for start in range(0, len(rows), few):
        part = slice(start, start + few)
        gap_BKD = x_ND[ids_BK[part]] - x_ND[rows[part], None, :]
        distances_BK[part] = np.sqrt(np.einsum("bkd,bkd->bk", gap_BKD, gap_BKD))
    order_BK = np.argsort(distances_BK, axis=1, kind="stable")
    return np.take_along_axis(ids_BK, order_BK, 1), np.take_along_axis(distances_BK, order_BK, 1)
