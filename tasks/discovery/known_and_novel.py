"""Which rows are of known classes and which are of novel ones, as the setting of category discovery grants it.

Novel class discovery (Hsu et al., ICLR 2018, arXiv 1711.10125; Troisemaine et al., arXiv 2311.05440): a labelled
set of known classes and an unlabelled one that holds novel classes only. Which of the two a row came from is given;
`is_known` says it also for test rows.
"""

from dataclasses import dataclass

import numpy as np

from tasks.artifacts import Dataset, Representation


@dataclass(frozen=True)
class KnownClasses:
    """Labelled train rows: `rows` int64 [n_l], `index` int64 [n_l] in 0..C_l-1, `classes` int64 [C_l] (their labels)."""

    rows: np.ndarray
    index: np.ndarray
    classes: np.ndarray


def known_classes(dataset: Dataset) -> KnownClasses:
    """Train rows with a `given_label`. Raises ValueError: fewer than two known classes."""
    if "given_label" not in dataset.samples:
        raise ValueError("dataset: no given_label, so no class is known; grant the labels of some classes")
    train = dataset.rows("train")
    rows = train[dataset.samples["given_label"].iloc[train].notna().to_numpy()]
    if len(rows) == 0:
        raise ValueError("dataset: no known class among the train rows; grant the labels of at least two classes")
    classes, index = np.unique(dataset.labels("given_label", rows), return_inverse=True)
    if len(classes) == 1:
        raise ValueError(f"dataset: only one known class ({classes[0]}), so there is nothing to tell apart; grant two")
    return KnownClasses(rows, index.astype(np.int64), classes)


def novel_rows(dataset: Dataset, split: str = "train") -> np.ndarray:
    """Rows int64 of novel classes: train rows without `given_label`, or those of `split` where `is_known` is false.

    Raises ValueError: there are none, or another split than train is asked for and the data set has no `is_known`.
    """
    rows = dataset.rows(split)
    if split == "train":
        novel = dataset.samples["given_label"].iloc[rows].isna().to_numpy()
    elif "is_known" in dataset.arrays:
        novel = ~np.asarray(dataset.arrays["is_known"])[rows].astype(bool)
    else:
        raise ValueError(f"dataset: no array 'is_known', so the novel rows of split '{split}' are not given; use train")
    if not novel.any():
        raise ValueError(f"dataset: split '{split}' has no novel rows; there is nothing to discover")
    return rows[novel]


def table_of(dataset: Dataset, array: str) -> np.ndarray:
    """Array float32 [n, d] of the data set, one row per sample, flattened; ValueError names a column with NaN."""
    if array not in dataset.arrays:
        known = ", ".join(sorted(dataset.arrays)) or "none"
        raise ValueError(f"array: the data set has no array '{array}' (arrays: {known})")
    values = dataset.arrays[array]
    if len(values) != len(dataset.samples):
        raise ValueError(f"array: '{array}' has {len(values)} entries for {len(dataset.samples)} samples")
    x_ND = np.array(values, dtype=np.float32).reshape(len(values), -1)
    finite = np.isfinite(x_ND)
    if not finite.all():
        column = int((~finite).any(axis=0).argmax())
        raise ValueError(f"array: '{array}' has NaN or infinite values in column {column}; fill or drop them")
    return x_ND


def space_of(dataset: Dataset, representation: Representation, array: str) -> np.ndarray:
    """Array float64 [n, d] of the representation; ValueError unless it has one unit per sample, in order."""
    if array not in representation.arrays:
        known = ", ".join(sorted(representation.arrays)) or "none"
        raise ValueError(f"array: the representation has no array '{array}' (arrays: {known})")
    sample = representation.tables["units"]["sample"].to_numpy()
    if not np.array_equal(sample, np.arange(len(dataset.samples))):
        raise ValueError(f"representation: {len(sample)} units for {len(dataset.samples)} samples; give one per sample")
    return np.array(representation.arrays[array], dtype=np.float64)


def check_number(k: int, x_ND: np.ndarray) -> None:
    """ValueError unless `k` classes can be found in the novel rows `x_ND`."""
    if (x_ND == x_ND[0]).all():
        raise ValueError(f"all {len(x_ND)} novel rows are identical; there are no classes to find")
    if k > len(x_ND):
        raise ValueError(f"k = {k} is more than the {len(x_ND)} novel rows; lower k")


def class_means(x_ND: np.ndarray, index_N: np.ndarray, classes: int) -> np.ndarray:
    """Mean float64 [classes, d] of the rows of each class; every class must have a row."""
    member_KN = (index_N == np.arange(classes)[:, None]).astype(np.float64)
    return member_KN @ x_ND.astype(np.float64) / member_KN.sum(axis=1, keepdims=True)
