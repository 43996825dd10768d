"""The numbers of a table as they are: centred, on request scaled or reduced."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.decomposition import PCA

from tasks.artifacts import Dataset, Representation
from tasks.tables.replicates import replicate_rows, splits_of


def centred_features(
    dataset: Dataset,
    *,
    array: str = "features",
    scale: bool = False,
    pca: Annotated[int, Field(ge=1)] | None = None,
    seed: int,
) -> Representation:
    """Columns of mean 0 on split train; one unit per sample. `standardize` is its sibling for one fixed data set.

    Parameters
    ----------
    array: array of the data set, one entry per sample, flattened.
    scale: also divide by the standard deviation on train (a constant column stays 0). Off where the shape of the
        groups is what tells them apart.
    pca: keep so many principal components of the train rows; the sign of an axis makes its largest loading positive.
    seed: picks the replicate of a data set that has several (array `replicate`); otherwise nothing is random.

    Returns `embedding` float32 [units, d], table `units` (unit, sample), train units first.

    Raises ValueError: no such array, not one entry per sample, NaN or infinity, all train rows equal, `pca` above
    what the train rows span.
    """
    if array not in dataset.arrays:
        known = ", ".join(sorted(dataset.arrays)) or "none"
        raise ValueError(f"array: the data set has no array '{array}' (arrays: {known})")
    values = dataset.arrays[array]
    if len(values) != len(dataset.samples):
        raise ValueError(f"array: '{array}' has {len(values)} entries for {len(dataset.samples)} samples")
    parts = [replicate_rows(dataset, split, seed) for split in splits_of(dataset)]
    rows = np.concatenate(parts)
    x_ND = np.array(values[rows], dtype=np.float64).reshape(len(rows), -1)
    finite = np.isfinite(x_ND).all(axis=1)
    if not finite.all():
        raise ValueError(f"array: '{array}' has NaN or infinite values, first in sample {rows[finite.argmin()]}")
    train_ND = x_ND[: len(parts[0])]
    if (train_ND == train_ND[0]).all():
        raise ValueError(f"array: all train rows of '{array}' are equal; there is nothing to tell apart")
    mean_D, deviation_D = train_ND.mean(axis=0), train_ND.std(axis=0)
    x_ND -= mean_D
    if scale:
        x_ND /= np.where(deviation_D > 0, deviation_D, 1.0)
    train_ND = x_ND[: len(parts[0])]
    if pca is not None:
        if pca > min(train_ND.shape):
            raise ValueError(f"pca = {pca} is more than the least of train rows and columns, {min(train_ND.shape)}")
        x_ND = PCA(pca, svd_solver="full").fit(train_ND).transform(x_ND)
    unit = np.arange(len(rows), dtype=np.int64)
    return Representation(
        {"units": pd.DataFrame({"unit": unit, "sample": rows})}, {"embedding": x_ND.astype(np.float32)}
    )
