"""Spectral embedding whose kernel width follows from the minimum spanning tree.

Troisemaine et al., arXiv 2311.05440, section on NCD spectral clustering; Ng, Jordan & Weiss (NIPS 2001);
von Luxburg, Statistics and Computing 2007 (arXiv 0711.0189), section 3.

Shape legend: N rows, D columns, E components.
"""

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist


def spanning_tree_affinity(x_ND: np.ndarray, min_dist: float) -> np.ndarray:
    """Affinity float64 [N, N], exp(-d^2 / (2 s^2)) with s^2 = -m / ln(min_dist) and a zero diagonal.

    m is the largest squared edge of the minimum spanning tree, so the weakest edge of that tree weighs
    sqrt(min_dist): the 2 is in the kernel and not in the formula of s.

    Raises ValueError: all rows identical.
    """
    square_NN = cdist(x_ND, x_ND, "sqeuclidean")
    # Equal rows have no edge between them in this form of a graph; by the cut property the largest edge is the same.
    largest = float(minimum_spanning_tree(square_NN).max())
    if not largest > 0:
        raise ValueError(f"all {len(x_ND)} rows are identical; there is no distance to scale by")
    affinity_NN = np.exp(square_NN * (np.log(min_dist) / (2 * largest)))
    np.fill_diagonal(affinity_NN, 0)
    return affinity_NN


def spectral_embedding(x_ND: np.ndarray, *, min_dist: float, n_components: int) -> np.ndarray:
    """Eigenvectors float64 [N, E] number 2..E+1 of I - D^-1/2 A D^-1/2 by rising eigenvalue, rows not normalised.

    The largest entry of each eigenvector is positive.

    Raises ValueError: `n_components` above N - 1, all rows identical.
    """
    if n_components > len(x_ND) - 1:
        raise ValueError(
            f"n_components = {n_components} is more than {len(x_ND) - 1}, one less than the rows; lower it"
        )
    affinity_NN = spanning_tree_affinity(x_ND, min_dist)
    root_N = np.sqrt(affinity_NN.sum(axis=1))
    laplacian_NN = np.eye(len(x_ND)) - affinity_NN / root_N[:, None] / root_N[None, :]
    _, vector_NE = eigh(laplacian_NN, subset_by_index=[1, n_components], overwrite_a=True)
    largest_E = np.abs(vector_NE).argmax(axis=0)
    return vector_NE * np.sign(vector_NE[largest_E, np.arange(n_components)])
