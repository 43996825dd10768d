"""A table of numbers and categories from CSV, TSV or Parquet."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.selection import Grant, Imbalance, Limit, TestShare, choose_samples
from tasks.readers.tables import TableReader


def table(
    *,
    path: str,
    test_path: str | None = None,
    label: str | None = None,
    categorical: list[str] | Literal["text", "all"] = "text",
    ignore: list[str] = [],  # noqa: B006 (a default)
    missing: list[str] = [],  # noqa: B006 (a default)
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    header: bool = True,
    read_rows: Limit | None = None,
    test_share: TestShare | None = None,
    limit: Limit | None = None,
    imbalance: Imbalance | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """One row per sample, read in batches; columns are numbers or categories.

    Parameters
    ----------
    path: the table, relative to the workspace: `.parquet`, or text with a header. test_path: a second one with the same
        columns; its rows are split `test`.
    label: name of the column with the truth; its sorted values become the classes. Default: no labels.
    categorical: "text": columns that are text or boolean are coded; "all": every column; or their names.
    ignore: names of columns to leave out. missing: texts that stand for a missing value, such as "" or "?".
    delimiter: one character. header: whether the first line names the columns; otherwise they are f0, f1, ...
    read_rows: read only so many rows of each file, from its start.
    test_share: share of each class that becomes split `test`; only without `test_path`.
    limit: most samples per split, equally many of each class, drawn with `seed`.
    imbalance: size of the largest class of `train` over that of the smallest, applied after `limit`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of all draws.

    Returns `features` float32 [n, p] (meta `feature_names`) and `codes` int32 [n, q] (meta `code_names`; codes by first
    appearance, -1 is missing), each if there are such columns; table `samples`, with `label` if there are labels.

    Raises FileNotFoundError or ValueError naming file and column: see `tasks/readers/tables.py`; a missing number
    is an error, a missing category is a code.
    """
    reader = TableReader(label=label, ignore=ignore, missing=missing, delimiter=delimiter, header=header)
    file = Path(path)
    if categorical == "all":
        reader.categorical = _names(reader, file)
    elif categorical != "text":
        reader.categorical = categorical
    files = {"train": file} | ({"test": Path(test_path)} if test_path is not None else {})
    parts = [reader.read(f, read_rows) for f in files.values()]
    splits = np.repeat(list(files), [len(numbers) for numbers, _, _ in parts])
    numbers, codes = (np.concatenate([part[i] for part in parts]) for i in (0, 1))  # pyright: ignore[reportArgumentType, reportCallIssue]
    meta: dict[str, object] = {}
    y = None
    if label is not None:
        known = np.array(list(reader.coders[label].codes))
        order = np.argsort(known)
        rank = np.empty(len(known), np.int64)
        rank[order] = np.arange(len(known))
        y = rank[np.concatenate([part[2] for part in parts if part[2] is not None])]
        meta["class_names"] = known[order].tolist()
    rows, samples = choose_samples(
        splits, y, source=file, test_share=test_share, limit=limit, imbalance=imbalance, grant=grant, seed=seed
    )
    arrays = {}
    for array, values, names in (("features", numbers, reader.numeric), ("codes", codes, reader.coded)):
        if names:
            arrays[array] = values[rows]
            meta[f"{array[:-1]}_names"] = names
    if not arrays:
        raise ValueError(f"path: {file} has no column besides the label and 'ignore'; leave a column in")
    return Dataset({"samples": samples}, arrays, meta=meta)


def _names(reader: TableReader, file: Path) -> list[str]:
    """Every column that is kept."""
    probe = TableReader(reader.label, None, reader.ignore, reader.missing, reader.delimiter, reader.header)
    probe.read(file, 1)
    return probe.names
