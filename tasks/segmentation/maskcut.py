"""MaskCut: object masks from patch features by repeated normalized cuts.

Shape legend: h, w patch grid, N = h w patches, D features, H, W pixels.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from tasks.segmentation.normalized_cut import patch_graph, second_eigenvector

NO_CUT = 0.99
_SAME_MASK = 0.5


@dataclass(frozen=True)
class Cuts:
    """`masks`: the object masks, bool [h, w] each, disjoint; `eigenvector` float64 [h, w] of the first cut."""

    masks: list[np.ndarray]
    eigenvector: np.ndarray


def maskcut(
    features_hwD: np.ndarray, *, n_masks: int, tau: float, max_corners: int, max_area: float, min_area: float
) -> Cuts:
    """At most `n_masks` disjoint object masks of one image (CutLER: CVPR 2023, arXiv 2301.11320, section 3.1).

    After each cut the patches it found are taken out of the graph and the rest is cut again. A mask is empty if
    it repeats the one before (IoU > 0.5, from the second cut on) or holds no more than `min_area` of the patches.
    A mask with more than `max_corners` of the image's four corners, or more than `max_area` of its patches, is a
    piece of background: it is taken out of the graph but not returned. The paper only turns the cut around when
    the foreground holds three or more corners (`max_corners: 2, max_area: 1` leaves just that). The cuts end when
    lambda > 0.99: the graph is then one block and v is noise.
    """
    height, width, _ = features_hwD.shape
    alike_NN = patch_graph(features_hwD.reshape(height * width, -1), tau)
    covered_hw = np.zeros((height, width), dtype=bool)
    before_hw, first_v = covered_hw, None
    masks = []
    for cut in range(n_masks):
        free_N = ~covered_hw.ravel()
        eigenvalue, v_N = second_eigenvector(alike_NN & free_N[:, None] & free_N)
        if eigenvalue > NO_CUT:
            break
        found_hw, v_hw = foreground(v_N.reshape(height, width))
        first_v = v_hw if first_v is None else first_v
        if cut > 0 and (_iou(found_hw, before_hw) > _SAME_MASK or found_hw.sum() <= min_area * found_hw.size):
            found_hw = np.zeros_like(found_hw)
        before_hw = found_hw
        mask_hw = found_hw & ~covered_hw
        covered_hw = covered_hw | found_hw
        if mask_hw.any() and corners(found_hw) <= max_corners and mask_hw.sum() <= max_area * mask_hw.size:
            masks.append(mask_hw)
    return Cuts(masks, np.zeros((height, width)) if first_v is None else first_v)


def foreground(v_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object's side of a cut, bool [h, w], and v [h, w] turned so that this side is high.

    The sign of v is arbitrary and the rules below are not blind to it, so v[argmax |v|] > 0 is settled first. The
    side above the mean is turned into the other one if it holds three or more corners of the image, or if it lacks
    the seed argmax |v|. Of it remains the 4-connected component that contains the (new) argmax of v.
    """
    seed = np.unravel_index(np.abs(v_hw).argmax(), v_hw.shape)
    v_hw = -v_hw if v_hw[seed] < 0 else v_hw
    above_hw = v_hw > v_hw.mean()
    if corners(above_hw) >= 3 or not above_hw[seed]:
        above_hw, v_hw = ~above_hw, -v_hw
    components_hw, _ = label(above_hw)  # type: ignore[misc]
    seed = np.unravel_index(v_hw.argmax(), v_hw.shape)
    return (components_hw == components_hw[seed]) & above_hw, v_hw


def corners(mask_hw: np.ndarray) -> int:
    """How many of the four corners of the grid a mask holds."""
    return int(mask_hw[[0, 0, -1, -1], [0, -1, 0, -1]].sum())


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0
