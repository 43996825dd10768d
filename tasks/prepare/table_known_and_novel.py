"""A table of your own, some of whose classes are known and the others to be discovered."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.novel_classes import discovery_dataset
from tasks.readers.tables import TableReader


def table_known_and_novel(
    *,
    path: str,
    label: str,
    known_classes: Annotated[list[str], Field(min_length=2)],
    test_path: str | None = None,
    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    categories: Literal["refuse", "one_hot"] = "refuse",
    ignore: list[str] = [],  # noqa: B006 (a declared default)
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    header: bool = True,
    standardise: bool = True,
    drop_constant: bool = True,
    most_per_class: Annotated[int, Field(ge=1)] | None = None,
    limit: Annotated[int, Field(ge=10)] | None = None,
    seed: int = 0,
) -> Dataset:
    """CSV, TSV or Parquet, one row per sample, as the tables of Troisemaine et al. (arXiv 2311.05440) are used.

    Parameters
    ----------
    path: the table, relative to the workspace. test_path: a second one with the same columns, split `test`.
    label: name of the column with the class. known_classes: classes whose train rows keep their label, as text;
        all other classes are novel.
    test_size: share of rows in split `test` if there is no `test_path`, drawn within each known class and within
        all novel rows together.
    categories: columns of text or booleans are refused, or become one 0/1 column per value ("one_hot"; a missing
        value is 0 everywhere).
    ignore: names of columns to leave out. delimiter: one character.
    header: whether the first line names the columns; otherwise they are f0, f1, ...
    standardise: subtract the mean and divide by the standard deviation of the train rows.
    drop_constant: leave out columns that are constant on the train rows.
    most_per_class: keep that many rows of each class of each file, drawn (the paper's cap on large tables; the one
        place where novel labels have a say, since it makes the data set).
    limit: at most that many rows of each file, drawn. seed: seed of all draws.

    Returns `features` float32 [n, d] (meta `feature_names`); `is_known` uint8 [n]; truth `label` (classes in sorted
    order); `given_label` int64 on the known train rows.

    Raises FileNotFoundError or ValueError naming file, column or key: a missing number, a class that no row has,
    fewer than two known classes, no novel class, text columns unless one_hot.
    """
    reader = TableReader(label=label, ignore=ignore, missing=[""], delimiter=delimiter, header=header)
    files = [Path(path), *([Path(test_path)] if test_path is not None else [])]
    parts = [reader.read(file) for file in files]
    if reader.coded and categories == "refuse":
        raise ValueError(
            f"categories: {files[0]} has text in column '{reader.coded[0]}'; set categories: one_hot or add it to 'ignore'"
        )
    numbers, codes = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    seen = list(reader.coders[label].codes)
    names = sorted({name.strip() for name in seen})
    of_code = np.array([names.index(name.strip()) for name in seen], dtype=np.int64)
    labels = of_code[np.concatenate([part[2] for part in parts if part[2] is not None])]
    unknown = [name for name in known_classes if name not in names]
    if unknown:
        raise ValueError(f"known_classes: {files[0]} has no class '{unknown[0]}' (classes: {', '.join(names)})")
    origin = np.repeat(np.arange(len(files)), [len(part[0]) for part in parts])
    rows = _chosen(origin, labels, most_per_class, limit, seed)
    columns, column_names = [numbers], list(reader.numeric)
    for position, name in enumerate(reader.coded):
        for value, code in reader.coders[name].codes.items():
            columns.append((codes[:, position] == code)[:, None].astype(np.float32))
            column_names.append(f"{name}={value}")
    x_ND = np.concatenate(columns, axis=1)
    if x_ND.shape[1] == 0:
        raise ValueError(f"path: {files[0]} has no column besides the label and 'ignore'; leave a column in")
    split = np.where(origin[rows] == 0, "train", "test").astype(object) if test_path is not None else None
    return discovery_dataset(
        x_ND[rows],
        labels[rows],
        class_names=names,
        known=[names.index(name) for name in known_classes],
        column_names=column_names,
        split=split,
        test_size=test_size,
        standardise=standardise,
        drop_constant=drop_constant,
        seed=seed,
    )


def _chosen(
    origin: np.ndarray, labels: np.ndarray, most_per_class: int | None, limit: int | None, seed: int
) -> np.ndarray:
    """Rows int64 to keep, in the order of the files."""
    class_stream, limit_stream = np.random.SeedSequence(seed).spawn(2)
    class_rng, limit_rng = np.random.default_rng(class_stream), np.random.default_rng(limit_stream)
    kept = []
    for file in np.unique(origin):
        rows = np.flatnonzero(origin == file)
        if most_per_class is not None:
            of_class = [class_rng.permutation(rows[labels[rows] == c]) for c in np.unique(labels[rows])]
            rows = np.sort(np.concatenate([r[:most_per_class] for r in of_class]))
        if limit is not None and len(rows) > limit:
            rows = np.sort(limit_rng.choice(rows, limit, replace=False))
        kept.append(rows)
    return np.concatenate(kept)
