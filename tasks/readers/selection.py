"""Which samples of a source become the data set, in which split, and which labels the setting grants."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.readers.long_tail import long_tail_rows

Limit = Annotated[int, Field(ge=1)]
TestShare = Annotated[float, Field(gt=0, lt=1)]
Imbalance = Annotated[float, Field(ge=1)]
Grant = Literal["none", "train"]

SPLITS = ("train", "val", "test")
NO_LABEL = -1


def choose_samples(
    splits: np.ndarray,
    labels: np.ndarray | None,
    *,
    source: object,
    test_share: float | None = None,
    limit: int | None = None,
    imbalance: float | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Rows int64 of the source to keep, and their table `samples`.

    `splits` str [n] of the source rows; `labels` int64 [n] (`NO_LABEL` where unknown) or None. In this order:
    `test_share` moves that share of each class from train to test; `limit` keeps at most that many rows per
    split, equally many of each class as far as they go; `imbalance` makes train long-tailed (the largest
    class has `imbalance` times the rows of the smallest). `grant` "train" gives the labels of train away as
    `given_label`. The three draws are independent streams of `seed`. `source` is named in errors.
    """
    known = labels if labels is not None else np.full(len(splits), NO_LABEL, dtype=np.int64)
    splits = splits.astype(str)
    split_rng, limit_rng, tail_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    if test_share is not None:
        if (splits == "test").any():
            raise ValueError(f"test_share: {source} has a test split already; remove 'test_share'")
        splits = _split_off_test(splits, known, test_share, split_rng)
    parts = []
    for split in (s for s in SPLITS if (splits == s).any() or s == "train"):
        rows = np.flatnonzero(splits == split)
        if limit is not None:
            rows = _limited(rows, known[rows], limit, split, limit_rng)
        if split == "train":
            if len(rows) == 0:
                raise ValueError(f"path: {source} leaves no sample in split 'train'; add samples or lower 'test_share'")
            key = "grant" if grant == "train" else "imbalance" if imbalance is not None else None
            if key is not None:
                _need_labels(known[rows], key, source)
            if imbalance is not None:
                # Numbered without gaps: a class that only test has is no empty class of train.
                classes = np.unique(known[rows], return_inverse=True)[1]
                rows = rows[long_tail_rows(classes, imbalance, tail_rng)]
        parts.append((split, rows))
    rows = np.concatenate([rows for _, rows in parts])
    return rows, _samples(parts, known, labels is not None, grant)


def _samples(parts: list[tuple[str, np.ndarray]], known: np.ndarray, labelled: bool, grant: Grant) -> pd.DataFrame:
    rows = np.concatenate([rows for _, rows in parts])
    split = np.repeat([name for name, _ in parts], [len(r) for _, r in parts])
    label = pd.Series(known[rows], dtype="Int64").mask(known[rows] == NO_LABEL)
    table = pd.DataFrame({"sample": np.arange(len(rows), dtype=np.int64), "split": pd.Series(split, dtype="str")})
    if labelled:
        table["label"] = label
        table["given_label"] = label.where(pd.Series(split == "train") & (grant == "train"))
    return table


def _split_off_test(splits: np.ndarray, labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    splits = splits.copy()
    train = np.flatnonzero(splits == "train")
    for value in np.unique(labels[train]):
        rows = rng.permutation(train[labels[train] == value])
        # A class of two or more is seen on both sides, however small the share.
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        splits[rows[:count]] = "test"
    return splits


def _limited(rows: np.ndarray, labels: np.ndarray, limit: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """At most `limit` of `rows`: the first of every class in random order, then the second, and so on."""
    classes = np.unique(labels)
    if len(rows) <= limit:
        return rows
    if limit < len(classes):
        raise ValueError(f"limit: {limit} is below the {len(classes)} classes of split '{split}'; raise 'limit'")
    rank = np.empty(len(rows), dtype=np.int64)
    for value in classes:
        members = np.flatnonzero(labels == value)
        rank[members] = rng.permutation(len(members))
    return np.sort(rows[np.lexsort((labels, rank))[:limit]])


def _need_labels(labels: np.ndarray, key: str, source: object) -> None:
    if (labels == NO_LABEL).any():
        raise ValueError(f"{key}: {source} has no labels for split 'train'; add them or remove '{key}'")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{key}: {source} has only one class in split 'train'; add classes or remove '{key}'")


def check_labels(labels: np.ndarray, classes: int | None, file: object) -> None:
    """ValueError naming `file` unless labels are 0..classes-1 (0 and up if `classes` is None)."""
    bad = labels[(labels < 0) | (labels >= (classes if classes is not None else np.inf))]
    if len(bad):
        top = f"0..{classes - 1}" if classes is not None else "0, 1, 2, ..."
        raise ValueError(
            f"path: {file} holds label {bad[0]}, expected {top} ({len(bad)} labels are outside); "
            "correct the labels or 'class_names'"
        )
