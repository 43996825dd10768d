"""Principal components as features."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.decomposition import PCA

from tasks.artifacts import Dataset, Representation
from tasks.vectors import unit_features


def pca(
    dataset: Dataset, *, dim: Annotated[int, Field(ge=1)], array: str = "images", normalize: bool = False
) -> Representation:
    """Principal component analysis (Pearson 1901; Jolliffe, Principal Component Analysis, 2002), fitted on split train.

    Parameters
    ----------
    dim: number of components kept.
    array: array of the data set that is reduced, one entry per sample, flattened; uint8 is scaled to 0..1.
    normalize: scale each feature vector to unit length.

    Returns `embedding` float32 [n, dim] of all samples, one unit per sample. Only the mean and the axes are
    learned, and only from `train`. The sign of an axis makes its largest loading positive.

    Raises ValueError: no such `array`; train rows all equal; `dim` above what the train rows span; a zero vector if `normalize`.
    """
    if array not in dataset.arrays:
        known = ", ".join(sorted(dataset.arrays)) or "none"
        raise ValueError(f"array: the data set has no array '{array}' (arrays: {known})")
    values = dataset.arrays[array]
    if len(values) != len(dataset.samples):
        raise ValueError(f"array: '{array}' has {len(values)} entries for {len(dataset.samples)} samples")
    x = np.array(values, dtype=np.float64).reshape(len(values), -1)
    if values.dtype == np.uint8:
        x /= 255
    train = dataset.rows("train")
    most = min(len(train), x.shape[1])
    if dim > most:
        raise ValueError(f"dim = {dim} is more than {most}, the least of train rows ({len(train)}) and input values")
    if (x[train] == x[train[0]]).all():
        raise ValueError(f"array: all train rows of '{array}' are equal; there is no component to find")
    # The covariance is the cheaper of two exact ways where rows outnumber columns.
    solver = "covariance_eigh" if len(train) > x.shape[1] else "full"
    model = PCA(dim, svd_solver=solver).fit(x[train])
    embedding = model.transform(x)
    if normalize:
        embedding = unit_features(embedding)
    unit = np.arange(len(x), dtype=np.int64)
    return Representation(
        {"units": pd.DataFrame({"unit": unit, "sample": unit})}, {"embedding": embedding.astype(np.float32)}
    )
