"""The two-way normalized cut of a patch graph.

Shape legend: N patches, D features, T groups of patches with equal rows in the graph (twins).
"""

import numpy as np
from scipy.linalg import eigh

WEAK_LINK = 1e-5


def patch_graph(features_ND: np.ndarray, tau: float) -> np.ndarray:
    """Boolean [N, N]: which patches are alike, i.e. whether the cosine of their features exceeds `tau`.

    A zero vector is like nothing, itself included. MaskCut (Wang, Girdhar, Yu, Misra, CVPR 2023, arXiv 2301.11320,
    section 3.1) follows TokenCut (arXiv 2202.11539) in thresholding, so that the graph's weights are 1 and 1e-5.
    """
    if not -1 < tau < 1:
        raise ValueError(f"tau must lie strictly between -1 and 1, got {tau}")
    x = np.asarray(features_ND, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norms > 0, norms, 1)
    alive = norms[:, 0] > 0
    return (x @ x.T > tau) & alive[:, None] & alive


def second_eigenvector(alike_NN: np.ndarray, weak: float = WEAK_LINK) -> tuple[float, np.ndarray]:
    """(lambda, v float64 [N]) of the second smallest solution of (D - W) v = lambda D v (Shi & Malik 2000, eq. 11).

    W is 1 where `alike_NN`, else `weak`; D is the diagonal of its row sums. v has norm 1; its sign is arbitrary.

    Patches with equal rows in W have equal entries in every eigenvector but those with lambda = 1. So they are
    merged into one node, which gives the same v from a smaller matrix: W is mostly blocks. If lambda is not below 1,
    the graph has no cut and v is zero.
    """
    packed = np.packbits(alike_NN, axis=1)
    rows = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, twin_N, size_T = np.unique(rows, return_index=True, return_inverse=True, return_counts=True)
    if len(first) < 2:
        return 1.0, np.zeros(len(alike_NN))
    w_TT = np.where(alike_NN[np.ix_(first, first)], 1.0, weak)
    degree_T = w_TT @ size_T
    # D^-1/2 W D^-1/2 in the orthonormal basis of the twins' normalised indicators; its largest eigenvalues
    # are 1 - lambda.
    scale_T = np.sqrt(size_T / degree_T)
    normalised_TT = w_TT * scale_T[:, None] * scale_T
    top = len(first) - 2
    values, vectors = eigh(normalised_TT, subset_by_index=[top, top], driver="evr", check_finite=False)
    v_N = (vectors[:, 0] / np.sqrt(size_T * degree_T))[twin_N]
    return float(1 - values[0]), v_N / np.linalg.norm(v_N)
