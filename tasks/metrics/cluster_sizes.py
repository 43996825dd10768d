"""How evenly clusters are used."""

import numpy as np


def normalised_entropy(sizes_K: np.ndarray) -> float:
    """Entropy of the shares of `sizes_K` (counts or masses, not all 0) over log K: 1 if all are equal, 0 if one has all.

    Raises ValueError: fewer than two clusters, a negative size, nothing at all.
    """
    sizes_K = np.asarray(sizes_K, dtype=np.float64)
    if sizes_K.ndim != 1 or len(sizes_K) < 2:
        raise ValueError(f"sizes must be those of at least 2 clusters, got shape {sizes_K.shape}")
    if (sizes_K < 0).any() or sizes_K.sum() <= 0:
        raise ValueError("sizes must not be negative, and not all 0")
    share = sizes_K[sizes_K > 0] / sizes_K.sum()
    # + 0.0 turns the -0.0 of a single cluster into 0.
    return float(-(share * np.log(share)).sum() / np.log(len(sizes_K))) + 0.0
