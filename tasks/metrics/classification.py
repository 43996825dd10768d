"""Agreement of predictions with classes."""

import numpy as np


def recall_by_class(prediction_N: np.ndarray, label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes that occur among the labels, in order, and the share of each one's rows that are predicted right.

    Raises ValueError: no rows.
    """
    if len(label_N) == 0:
        raise ValueError("recall of no rows")
    classes, class_N = np.unique(label_N, return_inverse=True)
    right = np.bincount(class_N, weights=prediction_N == label_N)
    return classes, right / np.bincount(class_N)
