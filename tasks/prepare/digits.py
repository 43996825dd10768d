"""Handwritten digits, one per image, with labels for none or a few of them."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.datasets import load_digits

from tasks.artifacts import Dataset

SIDE, CLASSES = 8, 10

Count = Annotated[int, Field(ge=0)]


def digits(
    *,
    n_train: Annotated[int, Field(ge=1)] = 1200,
    n_test: Count = 597,
    labels_per_class: Count = 0,
    seed: int = 0,
) -> Dataset:
    """scikit-learn's 1797 handwritten digits (UCI optdigits, Alpaydin & Kaynak 1998) as images.

    Parameters
    ----------
    n_train, n_test: images in split `train` and in split `test`, drawn without replacement; at most 1797 together.
    labels_per_class: images of each digit in `train` whose label is granted (`given_label`).
    seed: seed of the split and of the labels granted.

    Returns `images` float32 [n, 8, 8, 1] in 0..1, rows in random order within each split; truth `label`.

    Raises ValueError: more images than there are, fewer than `labels_per_class` of a digit in `train`.
    """
    flat, target = load_digits(return_X_y=True)
    if n_train + n_test > len(flat):
        raise ValueError(f"n_train + n_test = {n_train + n_test}: there are {len(flat)} digits; lower one of them")
    split_stream, label_stream = np.random.SeedSequence(seed).spawn(2)
    chosen = np.random.default_rng(split_stream).permutation(len(flat))[: n_train + n_test]
    label = pd.Series(np.asarray(target)[chosen]).astype("Int64")
    granted = np.zeros(len(chosen), dtype=bool)
    rng = np.random.default_rng(label_stream)
    for digit in range(CLASSES):
        members = np.flatnonzero(label[:n_train] == digit)
        if len(members) < labels_per_class:
            raise ValueError(
                f"labels_per_class = {labels_per_class}: digit {digit} occurs {len(members)} times in train"
            )
        granted[rng.choice(members, labels_per_class, replace=False)] = True
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(chosen), dtype=np.int64),
            "split": pd.Series(["train"] * n_train + ["test"] * n_test, dtype="str"),
            "label": label,
            "given_label": label.where(granted),
        }
    )
    images = (np.asarray(flat)[chosen].reshape(-1, SIDE, SIDE, 1) / 16.0).astype(np.float32)
    return Dataset(
        {"samples": samples}, {"images": images}, meta={"class_names": [str(c) for c in range(CLASSES)], "truth": []}
    )
