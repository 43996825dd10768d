"""Directions of vectors."""

from __future__ import annotations

import numpy as np


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors along the last axis scaled to length 1 (zero stays zero), float64."""
    x = np.asarray(x, dtype=np.float64)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def cosine(a_ND: np.ndarray, b_CD: np.ndarray) -> np.ndarray:
    """Cosines float64 [N, C]; 0 where a vector is zero."""
    return np.clip(unit(a_ND) @ unit(b_CD).T, -1.0, 1.0)


def unit_features(x_ND: np.ndarray) -> np.ndarray:
    """Feature vectors of samples scaled to length 1, in their own type. Raises ValueError naming a sample that is zero."""
    length = np.linalg.norm(x_ND, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"normalize: sample {int((length == 0).argmax())} has a zero feature vector")
    return x_ND / length
