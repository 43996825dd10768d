"""Pixel accuracy and mean IoU of class maps."""

import numpy as np

from tasks.metrics.mapping import confusion


def semantic_scores(predicted_nHW: np.ndarray, semantic_nHW: np.ndarray, classes: int) -> tuple[float, float]:
    """Pixel accuracy (correct / labelled pixels) and mIoU over the classes present in the truth.

    A pixel without a class (-1) is wrong; void pixels of the truth do not count. (0, 0) if nothing is labelled.
    """
    counts = np.zeros((classes + 1, classes), dtype=np.int64)
    for predicted_HW, semantic_HW in zip(predicted_nHW, semantic_nHW, strict=True):
        counts += confusion(predicted_HW, semantic_HW, classes, classes)
    return scores_of_confusion(counts)


def scores_of_confusion(counts: np.ndarray) -> tuple[float, float]:
    """Pixel accuracy and mIoU from pixels [C + 1, C] (the last row: no prediction)."""
    truth_C, hits_C = counts.sum(axis=0), counts.diagonal()
    if truth_C.sum() == 0:
        return 0.0, 0.0
    present = truth_C > 0
    union_C = counts[:-1].sum(axis=1) + truth_C - hits_C
    return float(hits_C.sum() / truth_C.sum()), float((hits_C[present] / union_C[present]).mean())
