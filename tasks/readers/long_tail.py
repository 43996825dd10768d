"""Long-tailed subsets of labeled data.

Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, arXiv 1906.07413
(section 4); Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, arXiv 1901.05555.

Shape legend: C classes.
"""

import math

import numpy as np


def long_tail_counts(largest: int, classes: int, imbalance: float) -> np.ndarray:
    """Images of each class, int64 [C]: floor(largest * rho^(c / (C - 1))) with rho = 1 / `imbalance`.

    `imbalance` is the size of the first class over that of the last. CIFAR-100-LT with imbalance 100 has
    500, 477, ..., 5 images. One class keeps all its images.
    """
    if not math.isfinite(imbalance) or imbalance < 1:
        raise ValueError(f"imbalance must be at least 1 (largest class over smallest), got {imbalance}")
    exponents = np.arange(classes) / max(classes - 1, 1)
    # An exact power such as 500 / 100 may end a rounding error below its integer; floor would lose one image.
    return np.floor(largest * float(imbalance) ** -exponents + 1e-9).astype(np.int64)


def long_tail_rows(labels: np.ndarray, imbalance: float, rng: np.random.Generator) -> np.ndarray:
    """Rows (int64, ascending) of a long-tailed subset: class c keeps `long_tail_counts` images, drawn by `rng`.

    `labels` are int64 [n] in 0..C-1, and the order of the classes decides which are large. The counts start from
    the size of the largest class; a class that has fewer images than its count keeps all of them.

    Raises ValueError: `labels` empty or not 0..C-1 with every class present; `imbalance` below 1, or so large that
    a class would keep no image.
    """
    labels = np.asarray(labels)
    sizes = class_sizes(labels)
    counts = np.minimum(long_tail_counts(int(sizes.max()), len(sizes), imbalance), sizes)
    if (counts == 0).any():
        raise ValueError(
            f"imbalance = {imbalance:g} leaves class {int(np.argmin(counts))} without images "
            f"(the largest class has {int(sizes.max())}); lower imbalance"
        )
    kept = [rng.permutation(np.flatnonzero(labels == c))[:count] for c, count in enumerate(counts)]
    return np.sort(np.concatenate(kept))


def class_sizes(labels: np.ndarray, classes: int | None = None, *, what: str = "labels") -> np.ndarray:
    """Members of each class, int64 [C], of labels [n] that must be 0..C-1 with no class absent.

    `classes` is C; by default the largest label plus one. `what` names the labels in a `ValueError`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"{what} must be a non-empty vector, got shape {labels.shape}")
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        last = "C-1" if classes is None else classes - 1
        raise ValueError(f"{what} must be 0..{last}, got {labels.min()}..{labels.max()}")
    sizes = np.bincount(labels, minlength=classes or 0)
    if (sizes == 0).any():
        raise ValueError(f"{what}: class {int(np.argmin(sizes))} of {len(sizes)} has no sample; number classes 0..C-1")
    return sizes
