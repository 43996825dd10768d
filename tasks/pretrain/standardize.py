"""Standardised attributes as features, principal components of them on request."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.decomposition import PCA

from tasks.artifacts import Dataset, Representation


def standardize(
    dataset: Dataset, *, array: str = "attributes", pca: Annotated[int, Field(ge=1)] | None = None
) -> Representation:
    """Every column to mean 0 and standard deviation 1 over all samples; nothing is learned but means and scales.

    Parameters
    ----------
    array: array of the data set, one entry per sample, flattened to columns.
    pca: number of principal components (Pearson 1901) of the standardised columns that are kept; the sign of an axis
        makes its largest loading positive. Default: all columns as they are.

    Returns `embedding` float32 [n, d], one unit per sample. A column without variance becomes 0.

    Raises ValueError: no such `array`; another number of entries than samples; values that are not finite; `pca` above
    the least of rows and columns.
    """
    if array not in dataset.arrays:
        known = ", ".join(sorted(dataset.arrays)) or "none"
        raise ValueError(f"array: the data set has no array '{array}' (arrays: {known})")
    values = dataset.arrays[array]
    if len(values) != len(dataset.samples):
        raise ValueError(f"array: '{array}' has {len(values)} entries for {len(dataset.samples)} samples")
    x = np.array(values, dtype=np.float64).reshape(len(values), -1)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(f"array: '{array}' has NaN or infinite values in row {bad[0]} ({len(bad)} rows); clean them")
    x -= x.mean(axis=0)
    scale = x.std(axis=0)
    # A constant column leaves round-off of its own size, which must not be blown up to 1.
    x /= np.where(scale > 1e-12 * np.maximum(1.0, np.abs(values).max()), scale, np.inf)
    if pca is not None:
        if pca > min(x.shape):
            raise ValueError(f"pca = {pca} is more than {min(x.shape)}, the least of rows and columns of '{array}'")
        x = PCA(pca, svd_solver="covariance_eigh" if len(x) > x.shape[1] else "full").fit_transform(x)
    unit = np.arange(len(x), dtype=np.int64)
    return Representation({"units": pd.DataFrame({"unit": unit, "sample": unit})}, {"embedding": x.astype(np.float32)})
