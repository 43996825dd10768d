"""Documents as rows of delimited tables, as AG's Corpus is distributed."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder
from tasks.readers.selection import SPLITS, Grant, Limit, TestShare
from tasks.readers.text import Keywords, MaxTokens, class_index, text_dataset
from tasks.readers.text_files import Row, read_rows

Column = Annotated[int, Field(ge=0)]


def text_table(
    *,
    path: str,
    text_columns: Annotated[list[Column], Field(min_length=1)],
    class_column: Column | None = None,
    class_names: list[str] | None = None,
    header: bool = False,
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    keywords: Keywords | None = None,
    encoding: str = "utf-8",
    max_tokens: MaxTokens | None = None,
    test_share: TestShare | None = None,
    limit: Limit | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """`train.csv`, and `val.csv` and `test.csv` where there are any; one document a row, in the form of AG's Corpus
    (Zhang, Zhao and LeCun, NeurIPS 2015, arXiv 1509.01626): class number, title, description. If there is only `test.csv`
    it is read as `train`.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    text_columns: columns, from 0, that make up the text, joined by blanks.
    class_column: column of the class; null: there is none. An empty field is an unknown class.
    class_names: names of the classes in the order of their values (numbers by size, else by letters); default: the values.
    header: the first row of each file names the columns.
    delimiter: what separates columns.
    keywords, encoding, max_tokens, test_share, limit, grant, seed: as for `text_folder`.

    Returns what `text_folder` returns.

    Raises FileNotFoundError or ValueError naming file, line or key: missing, empty, not text in `encoding`, rows of
    unequal length, a column that is not there, `class_names` for another number of classes.
    """
    folder = existing_folder(path)
    files = {split: folder / f"{split}.csv" for split in SPLITS if (folder / f"{split}.csv").exists()}
    if "train" not in files:
        if "test" not in files:
            raise FileNotFoundError(f"path: {folder / 'train.csv'} does not exist; put the table there under this name")
        files = {"train": files["test"]}
    rows: list[Row] = []
    splits: list[str] = []
    for split, file in files.items():
        part = read_rows(file, encoding, delimiter)[int(header) :]
        for key, column in [("class_column", class_column), *(("text_columns", column) for column in text_columns)]:
            if column is not None and part and column >= len(part[0]):
                raise ValueError(f"{key}: {file} has columns 0 to {len(part[0]) - 1}, there is no column {column}")
        rows += part
        splits += [split] * len(part)
    labels, names = class_index([None if class_column is None else row[class_column].strip() or None for row in rows])
    if labels is not None:
        labels, names = _by_size(labels, names)
        if class_names is not None:
            if len(class_names) != len(names):
                raise ValueError(
                    f"class_names: {len(class_names)} names for the {len(names)} values {', '.join(names)}"
                )
            names = class_names
    return text_dataset(
        [" ".join(row[column] for column in text_columns) for row in rows],
        np.array(splits, dtype=str),
        labels,
        names,
        source=folder,
        keywords=keywords,
        max_tokens=max_tokens,
        test_share=test_share,
        limit=limit,
        grant=grant,
        seed=seed,
    )


def _by_size(labels: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Number classes by size rather than by letters: "10" comes after "9"."""
    if not all(name.isdigit() for name in names):
        return labels, names
    order = sorted(range(len(names)), key=lambda i: int(names[i]))
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    return np.where(labels < 0, labels, place[labels]), [names[i] for i in order]
