"""Nearest neighbours by matrix products: the rows of a cell are compared with all rows of the cells around it.

An inverted file (Jegou, Douze & Schmid, PAMI 2011) whose queries are the indexed rows themselves: all rows of a cell look into
the same cells, so that one product of matrices takes the place of a scan for each row.

Shape legend: N rows, D dimensions, K neighbours, M cells, P cells around one, S sampled rows, Q rows of a cell, C candidates.
"""

import math
from dataclasses import dataclass

import numpy as np

from tasks import progress
from tasks.clustering.threads import in_threads

CELL = 256  # rows of a cell on average, up to 60,000 rows; 2 sqrt(N) cells above
FEWEST, MOST = 1024, 8192  # candidates of a row
WANTED_RECALL = 0.95
TRAINING_ROWS_PER_CELL = 20
TRAINING_ROUNDS = 5
BLOCK = 256  # rows multiplied with candidates or centroids at once
CANCELS = 1e-3  # squared distances below this share of the squared norms are computed again


@dataclass(frozen=True)
class Cells:
    """Rows grouped in cells: `order` [N] lists them cell by cell, those of cell m from `start[m]` to `stop[m]`.

    `near` [M, P] are the cells around each, nearest first, `before` [M, P] how many rows the nearer ones hold.
    """

    order: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    centroids: np.ndarray
    near: np.ndarray
    before: np.ndarray


def cell_neighbours(
    x_ND: np.ndarray, k: int, rows_S: np.ndarray, true_SK: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids int32 [N, K] and squared distances float32 [N, K] of the nearest rows, the row itself among them; and the recall.

    `true_SK` are the nearest other rows of some rows `rows_S`. They tell how many candidates hold 95 % of the true neighbours: so many
    are compared with each row, 8192 at most. The recall is the share of them that is found. Near duplicates get distances
    computed as differences, so that those of equal rows are 0.
    """
    cells = _cells(x_ND, max(FEWEST, k))
    least, recall = _candidates(cells, rows_S, true_SK, k)
    ids_NK, squared_NK = np.empty((len(x_ND), k), np.int32), np.empty((len(x_ND), k), np.float32)
    x_ND = x_ND[cells.order]

    def search(m: int) -> None:
        around = cells.near[m, cells.before[m] < least]
        parts = [slice(cells.start[c], cells.stop[c]) for c in around]
        # About the cell's centre, where |a|^2 + |b|^2 - 2ab loses least. Nearest cells first: later rows are discarded quickly.
        candidates_CD = np.concatenate([x_ND[part] for part in parts])
        candidates_CD -= cells.centroids[m]
        rows_QD = x_ND[cells.start[m] : cells.stop[m]] - cells.centroids[m]
        squared_QK, at_QK = closest(rows_QD, candidates_CD, k)
        _compute_again(rows_QD, candidates_CD, squared_QK, at_QK)
        own = cells.order[cells.start[m] : cells.stop[m]]
        ids_NK[own] = np.concatenate([cells.order[part] for part in parts])[at_QK]
        squared_NK[own] = squared_QK

    for m, _ in enumerate(in_threads(search, range(len(cells.start)))):
        progress.report(m + 1, len(cells.start))
    return ids_NK, squared_NK, recall


def closest(rows_QD: np.ndarray, candidates_CD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances float32 [Q, K], ascending, and positions [Q, K] of the candidates nearest to each row.

    |c|^2 - 2 <q, c> is one product of the rows and the candidates with one more column each. The k least of a row lie in the k groups of
    candidates with the least minima, so that no more than these are sorted. Which of equally near candidates are taken is left open.
    """
    count, d = candidates_CD.shape
    group = max(1, math.isqrt(count // k))  # as many groups as k groups have members
    groups = -(-count // group)
    longer_CD = np.zeros((groups * group, d + 1), np.float32)
    longer_CD[:count, :d], longer_CD[:, d] = candidates_CD, np.finfo(np.float32).max
    longer_CD[:count, d] = np.einsum("cd,cd->c", candidates_CD, candidates_CD)
    longer_QD = np.concatenate([-2 * rows_QD, np.ones((len(rows_QD), 1), np.float32)], axis=1)
    squared_QK, at_QK = np.empty((len(rows_QD), k), np.float32), np.empty((len(rows_QD), k), np.int64)
    for start in range(0, len(rows_QD), BLOCK):
        product_BC = longer_QD[start : start + BLOCK] @ longer_CD.T
        every_B1 = np.arange(len(product_BC))[:, None]
        best_BK = _least(product_BC.reshape(-1, group, groups).min(axis=1), k)
        columns = (best_BK[:, None, :] + np.arange(0, group * groups, groups)[:, None]).reshape(len(product_BC), -1)
        values = product_BC[every_B1, columns]
        best_BK = _least(values, k)
        at_QK[start : start + BLOCK] = columns[every_B1, best_BK]
        squared_QK[start : start + BLOCK] = values[every_B1, best_BK]
    squared_QK += np.einsum("qd,qd->q", rows_QD, rows_QD)[:, None]
    return np.maximum(squared_QK, 0, out=squared_QK), at_QK


def _least(values_BW: np.ndarray, k: int) -> np.ndarray:
    """Columns [B, K] of the k least values of every row, ascending, the earlier of equal ones first.

    One sort of integers that hold a value's bits above its column: numpy's sort of these is several times as fast as its
    argsort or argpartition of floats. The bits of floats are ordered as the floats are once those below the sign are flipped
    for negative ones.
    """
    bits_BW = values_BW.view(np.int32)
    keys_BW = (bits_BW ^ (bits_BW >> 31 & 0x7FFFFFFF)).astype(np.int64) << 32 | np.arange(values_BW.shape[1])
    keys_BW.sort(axis=1)
    return keys_BW[:, :k] & 0xFFFFFFFF


def _cells(x_ND: np.ndarray, least: int) -> Cells:
    """Cells of k-means on evenly spaced rows, the largest cut in pieces; at least `least` rows are around each."""
    n = len(x_ND)
    count = max(1, min(n // CELL, round(2 * math.sqrt(n))))
    training_TD = x_ND[np.linspace(0, n - 1, min(n, count * TRAINING_ROWS_PER_CELL)).astype(np.int64)]
    centroids = training_TD[np.linspace(0, len(training_TD) - 1, count).astype(np.int64)]
    for _ in range(TRAINING_ROUNDS):
        centroids = _means(training_TD, _nearest(training_TD, centroids), centroids)
    cell_N = _nearest(x_ND, centroids)
    order = np.argsort(cell_N, kind="stable")
    cell_N = cell_N[order]
    size = np.bincount(cell_N, minlength=count)
    within_N = np.arange(n) - (np.cumsum(size) - size)[cell_N]
    start = np.flatnonzero(within_N % (4 * (n // count)) == 0)
    stop = np.append(start[1:], n)
    centroids = centroids[cell_N[start]]
    size_M = stop - start
    around = min(len(start), 2 * MOST * count // n + 1)
    while True:
        near = closest(centroids, centroids, around)[1]
        held = np.cumsum(size_M[near], axis=1)
        if around == len(start) or held[:, -1].min() >= least:
            return Cells(order, start, stop, centroids, near, held - size_M[near])
        around = min(2 * around, len(start))


def _nearest(x_ND: np.ndarray, centroids_MD: np.ndarray) -> np.ndarray:
    """The nearest centroid of every row, int64 [N]."""
    centre_D = centroids_MD.mean(axis=0)
    centroids_MD = centroids_MD - centre_D
    half_M = np.einsum("md,md->m", centroids_MD, centroids_MD) / 2

    def assign(start: int) -> np.ndarray:
        product_BM = (x_ND[start : start + BLOCK] - centre_D) @ centroids_MD.T
        product_BM -= half_M
        return product_BM.argmax(axis=1)

    return np.concatenate(list(in_threads(assign, range(0, len(x_ND), BLOCK))))


def _means(x_TD: np.ndarray, cell_T: np.ndarray, before_MD: np.ndarray) -> np.ndarray:
    """Mean of every cell's rows, float32 [M, D]; a cell without rows stays where it was."""
    order, size_M = np.argsort(cell_T, kind="stable"), np.bincount(cell_T, minlength=len(before_MD))
    filled = np.flatnonzero(size_M)
    after_MD = before_MD.copy()
    sums = np.add.reduceat(x_TD[order], (np.cumsum(size_M) - size_M)[filled], axis=0, dtype=np.float64)
    after_MD[filled] = sums / size_M[filled, None]
    return after_MD


def _candidates(cells: Cells, rows_S: np.ndarray, true_SK: np.ndarray, k: int) -> tuple[int, float]:
    """Candidates that hold the wanted share of the true neighbours, within bounds, and the share that they hold."""
    cell_N = np.empty(len(cells.order), np.int64)
    cell_N[cells.order] = np.repeat(np.arange(len(cells.start)), cells.stop - cells.start)
    own_S = cell_N[rows_S]
    needed_SM = np.full((len(rows_S), len(cells.start)), np.iinfo(np.int64).max)
    np.put_along_axis(needed_SM, cells.near[own_S], cells.before[own_S] + 1, 1)
    needed_SK = np.take_along_axis(needed_SM, cell_N[true_SK], 1)
    wanted = np.sort(needed_SK, axis=None)[math.ceil(WANTED_RECALL * needed_SK.size) - 1]
    least = int(np.clip(wanted, max(FEWEST, k), max(MOST, k)))
    return least, float((needed_SK <= least).mean())


def _compute_again(rows_QD: np.ndarray, candidates_CD: np.ndarray, squared_QK: np.ndarray, at_QK: np.ndarray) -> None:
    """Small squared distances as sums of squared differences, in place; rows that have any are sorted again."""
    norm_Q = np.einsum("qd,qd->q", rows_QD, rows_QD)
    q, j = np.nonzero(squared_QK < CANCELS * norm_Q[:, None])
    if len(q) == 0:
        return
    gap_D = rows_QD[q] - candidates_CD[at_QK[q, j]]
    squared_QK[q, j] = np.einsum("pd,pd->p", gap_D, gap_D)
    changed = np.unique(q)
    order = np.argsort(squared_QK[changed], axis=1, kind="stable")
    squared_QK[changed] = np.take_along_axis(squared_QK[changed], order, 1)
    at_QK[changed] = np.take_along_axis(at_QK[changed], order, 1)
