"""Fully connected conditional random field over the pixels of one image, two labels.

Shape legend: H, W pixels, N = H W, C channels.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter
from scipy.special import expit

from tasks.segmentation.bilateral_grid import SparseGaussianFilter

ITERATIONS = 10
POSITION_WEIGHT, POSITION_STD = 7.0, 3.0
BILATERAL_WEIGHT, BILATERAL_POSITION_STD, BILATERAL_COLOUR_STD = 10.0, 50.0, 5.0
_SAME_MASK = 0.5

Kernel = Callable[[np.ndarray], np.ndarray]


class DenseCRF:
    """The pairwise terms of one image, for any number of masks on it.

    Krähenbühl & Koltun, NeurIPS 2011 (arXiv 1210.5644): Potts terms with a Gaussian kernel on position and one on
    position and colour, kernels normalised symmetrically. The constants are those of MaskCut's post-processing;
    deviations are in pixels and in grey levels 0..255. The bilateral kernel is filtered on a sparse grid.
    """

    def __init__(self, image_HWC: np.ndarray):
        if image_HWC.dtype != np.uint8:
            raise ValueError(f"the CRF needs images of dtype uint8, got {image_HWC.dtype}")
        height, width = image_HWC.shape[:2]
        self.shape = (height, width)
        y, x = np.indices(self.shape).reshape(2, -1)
        colours_NC = image_HWC.reshape(height * width, -1) / BILATERAL_COLOUR_STD
        points = np.column_stack([y / BILATERAL_POSITION_STD, x / BILATERAL_POSITION_STD, colours_NC])
        self.kernels: list[tuple[float, Kernel]] = [
            (POSITION_WEIGHT, _normalised(self._gaussian, height * width)),
            (BILATERAL_WEIGHT, _normalised(SparseGaussianFilter(points), height * width)),
        ]

    def foreground(self, mask_HW: np.ndarray) -> np.ndarray:
        """Boolean [H, W]: the mean-field labelling of a mask after 10 iterations.

        The unary term is softmax(0 or 1), i.e. a pixel of the mask is foreground with probability e / (1 + e).
        """
        return mean_field(np.where(mask_HW.ravel(), 1.0, -1.0), self.kernels).reshape(self.shape) > 0.5

    def refine(self, mask_HW: np.ndarray) -> np.ndarray | None:
        """`foreground` with its holes filled; None if the result has lost the mask (IoU < 0.5)."""
        refined = binary_fill_holes(self.foreground(mask_HW))
        assert refined is not None
        union = (refined | mask_HW).sum()
        return refined if union and (refined & mask_HW).sum() / union >= _SAME_MASK else None

    def _gaussian(self, x_N: np.ndarray) -> np.ndarray:
        image = x_N.reshape(self.shape)
        return gaussian_filter(image, POSITION_STD, mode="constant", truncate=5).ravel()


def mean_field(unary_N: np.ndarray, kernels: list[tuple[float, Kernel]], iterations: int = ITERATIONS) -> np.ndarray:
    """Foreground probability [N] of a two-label Potts model; `unary_N` is the log-odds of the foreground alone.

    Each iteration sends weight * K q over all pixels and both labels (paper, algorithm 1); with two labels only the
    difference 2 K q - K 1 of the messages counts.
    """
    ones_N = np.ones(len(unary_N))
    totals = [kernel(ones_N) for _, kernel in kernels]
    q_N = expit(unary_N)
    for _ in range(iterations):
        odds_N = unary_N.copy()
        for (weight, kernel), total_N in zip(kernels, totals, strict=True):
            odds_N += weight * (2 * kernel(q_N) - total_N)
        q_N = expit(odds_N)
    return q_N


def _normalised(kernel: Kernel, count: int) -> Kernel:
    """x -> S K S x with S = diag(K 1)^(-1/2)."""
    scale_N = 1 / np.sqrt(np.maximum(kernel(np.ones(count)), 1e-20))
    return lambda x_N: scale_N * kernel(scale_N * x_N)
