"""A labelled table becomes a setting of novel class discovery: some classes known, the others to be found."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset


def discovery_dataset(
    x_ND: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    known: Sequence[int],
    column_names: Sequence[str],
    split: np.ndarray | None = None,
    test_size: float = 0.3,
    standardise: bool = True,
    drop_constant: bool = True,
    seed: int = 0,
) -> Dataset:
    """Data set of a table [n, d] whose classes `known` are granted on the train rows.

    The test share is drawn within each known class and within all novel rows together: a novel label has no say in
    anything but the truth. Constant columns are those of the train rows; mean and standard deviation are theirs too.

    Returns `features` float32 [n, d'], `is_known` uint8 [n] (which of the two sets a row came from: part of the
    setting, not truth), truth `label`, `given_label` on the known train rows.

    Raises ValueError: NaN or infinite values (the column is named), fewer than two known or no novel classes.
    """
    finite = np.isfinite(x_ND)
    if not finite.all():
        column = int((~finite).any(axis=0).argmax())
        bad = int((~finite[:, column]).sum())
        raise ValueError(f"column '{column_names[column]}' has {bad} NaN or infinite values; fill or drop them")
    missing = [class_names[c] for c in known if not (labels == c).any()]
    if missing:
        raise ValueError(f"known_classes: no row is of class {', '.join(missing)}; correct the list")
    if len(set(known)) < 2:
        raise ValueError(f"known_classes: {len(set(known))} known class; at least two are needed to learn from")
    is_known = np.isin(labels, np.asarray(known))
    if is_known.all():
        raise ValueError("known_classes: every class is known, there are no novel rows; leave some out")
    if split is None:
        split = _split(np.where(is_known, labels, -1), test_size, seed)
    train = split == "train"
    if not is_known[train].any() or is_known[train].all():
        raise ValueError("split: the train rows must hold known and novel classes; lower 'test_size' or add rows")
    names = np.asarray(column_names, dtype=object)
    x_ND = x_ND.astype(np.float64)
    if drop_constant:
        varies = (x_ND[train] != x_ND[train][0]).any(axis=0)
        if not varies.any():
            raise ValueError("every column is constant on the train rows; there is nothing to learn from")
        x_ND, names = x_ND[:, varies], names[varies]
    if standardise:
        mean, deviation = x_ND[train].mean(axis=0), x_ND[train].std(axis=0)
        if not (deviation > 0).all():
            name = names[int((deviation == 0).argmax())]
            raise ValueError(f"standardise: column '{name}' is constant on the train rows; set drop_constant")
        x_ND = (x_ND - mean) / deviation
    label = pd.Series(labels).astype("Int64")
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(labels), dtype=np.int64),
            "split": pd.Series(split, dtype="str"),
            "label": label,
            "given_label": label.where(pd.Series(train & is_known)),
        }
    )
    return Dataset(
        {"samples": samples},
        {"features": x_ND.astype(np.float32), "is_known": is_known.astype(np.uint8)},
        meta={"class_names": list(class_names), "feature_names": [str(n) for n in names], "truth": []},
    )


def _split(strata: np.ndarray, test_size: float, seed: int) -> np.ndarray:
    split = np.full(len(strata), "train", dtype=object)
    rng = np.random.default_rng(seed)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        split[rows[: round(test_size * len(rows))]] = "test"
    return split
