"""Data sets that hold several independent draws, so that every seed judges a method on data of its own.

A data set is prepared once for all seeds. Where the data are what is random (a generator, a resample), it holds
`replicates` draws side by side: array `replicate` int64 [n], 0..R-1. A seed picks one of them.
"""

from __future__ import annotations

import numpy as np

from tasks.artifacts import Dataset


def replicate_rows(dataset: Dataset, split: str, seed: int) -> np.ndarray:
    """Indices int64 of the samples of `split` in replicate `seed` mod R; of all samples of it in a plain data set.

    Raises ValueError if the split is empty in that replicate.
    """
    rows = dataset.rows(split)
    if "replicate" not in dataset.arrays:
        return rows
    replicate = np.asarray(dataset.arrays["replicate"])
    chosen = seed % (int(replicate.max()) + 1)
    rows = rows[replicate[rows] == chosen]
    if len(rows) == 0:
        raise ValueError(f"dataset: replicate {chosen} has no sample in split '{split}'; prepare the data set anew")
    return rows


def splits_of(dataset: Dataset) -> list[str]:
    """Splits present, train first, then in the order of their names."""
    present = set(dataset.samples["split"].unique())
    return sorted(present, key=lambda split: (split != "train", split))
