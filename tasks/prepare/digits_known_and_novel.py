"""Handwritten digits as a table, some of them known and the others to be discovered."""

from typing import Annotated

import numpy as np
from pydantic import Field
from sklearn.datasets import load_digits

from tasks.artifacts import Dataset
from tasks.readers.novel_classes import discovery_dataset

Digit = Annotated[int, Field(ge=0, le=9)]


def digits_known_and_novel(
    *,
    known_classes: Annotated[list[Digit], Field(min_length=2, max_length=9)] = [1, 2, 7, 8, 9],  # noqa: B006
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    standardise: bool = True,
    drop_constant: bool = True,
    limit: Annotated[int, Field(ge=20)] | None = None,
    seed: int = 0,
) -> Dataset:
    """scikit-learn's 1797 digits, which are the test file of UCI optdigits (Alpaydin & Kaynak 1998), as 64 columns.

    The default classes are the split of optdigits in Troisemaine et al., Data Mining and Knowledge Discovery 2024
    (arXiv 2311.05440).

    Parameters
    ----------
    known_classes: digits whose train rows keep their label; all others are novel.
    test_size: share of rows in split `test`, drawn within each known class and within all novel rows together.
    standardise: subtract the mean and divide by the standard deviation of the train rows.
    drop_constant: leave out columns that are constant on the train rows.
    limit: at most that many digits, the first ones. seed: seed of the split.

    Returns `features` float32 [n, d], d at most 64; `is_known` uint8 [n]; truth `label`; `given_label` int64 on the
    known train rows.

    Raises ValueError: fewer than two different known classes, no novel class.
    """
    pixels, target = load_digits(return_X_y=True)
    x_ND, labels = np.asarray(pixels)[:limit], np.asarray(target, dtype=np.int64)[:limit]
    return discovery_dataset(
        x_ND,
        labels,
        class_names=[str(c) for c in range(10)],
        known=known_classes,
        column_names=[f"pixel_{row}_{column}" for row in range(8) for column in range(8)],
        test_size=test_size,
        standardise=standardise,
        drop_constant=drop_constant,
        seed=seed,
    )
