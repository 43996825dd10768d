"""Gaussian filtering of scattered points on a sparse grid: splat, blur, slice.

Shape legend: N points, D dimensions, V vertices of the grid that some point touches.
"""

from itertools import product

import numpy as np
from scipy.sparse import csr_matrix, identity

# Multilinear splatting and slicing add 1/6 cell^2 each and the blur (1/4, 1/2, 1/4) adds 1/2 cell^2 of variance;
# cells of this many standard deviations make the sum one.
_CELL = (1 / (1 / 2 + 2 / 6)) ** 0.5


class SparseGaussianFilter:
    """x -> K x with K_ij about exp(-|f_i - f_j|^2 / 2) up to one factor, for points f [N, D] in few dimensions.

    A bilateral grid (Chen, Paris, Durand, SIGGRAPH 2007) that holds only the vertices some point touches, as the
    permutohedral lattice of Adams, Baek & Davis (2010) does; time and memory are linear in N.
    """

    def __init__(self, points_ND: np.ndarray):
        count, dimensions = points_ND.shape
        scaled_ND = (points_ND - points_ND.min(axis=0)) / _CELL
        base_ND = np.floor(scaled_ND).astype(np.int64)
        fraction_ND = scaled_ND - base_ND
        # One vertex more on either side, so that a neighbour's number never wraps around.
        extent_D = base_ND.max(axis=0) + 4
        stride_D = np.concatenate([np.cumprod(extent_D[::-1])[::-1][1:], [1]])
        numbers, weights = [], []
        for offset in product((0, 1), repeat=dimensions):
            numbers.append(((base_ND + offset + 1) * stride_D).sum(axis=1))
            weights.append(np.where(offset, fraction_ND, 1 - fraction_ND).prod(axis=1))
        vertices, column = np.unique(np.concatenate(numbers), return_inverse=True)
        row = np.tile(np.arange(count), 2**dimensions)
        self.splat = csr_matrix((np.concatenate(weights), (row, column.ravel())), shape=(count, len(vertices)))
        self.blurs = [_blur(vertices, int(stride)) for stride in stride_D]

    def __call__(self, x_N: np.ndarray) -> np.ndarray:
        """K x, float64 [N]. On a sparse grid the order of the blurs matters a little: both orders are averaged."""
        start = self.splat.T @ x_N
        forward, backward = start, start
        for ahead, behind in zip(self.blurs, self.blurs[::-1], strict=True):
            forward, backward = ahead @ forward, behind @ backward
        return self.splat @ (forward + backward) / 2


def _blur(vertices: np.ndarray, stride: int) -> csr_matrix:
    """Weights 1/4, 1/2, 1/4 along one dimension; neighbours that no point touches are left out."""
    place = np.minimum(np.searchsorted(vertices, vertices + stride), len(vertices) - 1)
    here = np.flatnonzero(vertices[place] == vertices + stride)
    quarter = np.full(len(here), 0.25)
    ahead = csr_matrix((quarter, (here, place[here])), shape=(len(vertices), len(vertices)))
    return csr_matrix(0.5 * identity(len(vertices)) + ahead + ahead.T)
