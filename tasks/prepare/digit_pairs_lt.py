"""A long-tailed data set whose large classes have a structure of their own."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.datasets import load_digits

from tasks.artifacts import Dataset

TRAIN_DIGITS = 1250
TAIL_LEFT = 5

Count = Annotated[int, Field(ge=1)]


def digit_pairs_lt(
    *,
    heads: Annotated[int, Field(ge=1, le=TAIL_LEFT)] = 4,
    head_size: Count = 200,
    tails: Annotated[int, Field(ge=1, le=10)] = 10,
    tail_size: Count = 12,
    test_per_class: Count = 60,
    seed: int = 0,
) -> Dataset:
    """Two of scikit-learn's handwritten digits side by side (UCI optdigits, Alpaydin & Kaynak 1998), long-tailed.

    Head class c shows digit c on the left and any digit on the right; tail class b shows a 5 on the left and digit
    b on the right. Heads differ in the left digit only, so an encoder may forget the right one, which is what the
    tails differ in. The 1797 digits are split 1250 / 547 into those seen in train and those seen in test.

    Parameters
    ----------
    heads: number of head classes, labels 0..heads-1. tails: number of tail classes, the labels that follow.
    head_size, tail_size: training images of each head and each tail class.
    test_per_class: test images of every class.
    seed: seed of the split and of the pairs, which are drawn with replacement.

    Returns `images` float32 [n, 8, 16, 1] in 0..1; `given_label` on train, <NA> on test; truth: `label` and
    `substructure` int64 [n], the right digit. Rows come in random order within each split.
    """
    flat, target = load_digits(return_X_y=True)
    pixels = (np.asarray(flat).reshape(-1, 8, 8) / 16.0).astype(np.float32)
    split_stream, *streams = np.random.SeedSequence(seed).spawn(3)
    order = np.random.default_rng(split_stream).permutation(len(pixels))
    images, labels, rights, splits = [], [], [], []
    for split, pool, sizes, stream in (
        ("train", order[:TRAIN_DIGITS], [head_size] * heads + [tail_size] * tails, streams[0]),
        ("test", order[TRAIN_DIGITS:], [test_per_class] * (heads + tails), streams[1]),
    ):
        rng = np.random.default_rng(stream)
        label = rng.permutation(np.repeat(np.arange(heads + tails), sizes))
        is_head = label < heads
        left = np.where(is_head, label, TAIL_LEFT)
        right = np.where(is_head, rng.integers(10, size=len(label)), label - heads)
        pair = np.stack([_draw(digit, np.asarray(target), pool, rng) for digit in (left, right)], axis=1)
        images.append(pixels[pair].transpose(0, 2, 1, 3).reshape(len(label), 8, 16, 1))
        labels.append(label)
        rights.append(right)
        splits += [split] * len(label)
    label = pd.Series(np.concatenate(labels)).astype("Int64")
    split = pd.Series(splits, dtype="str")
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(label), dtype=np.int64),
            "split": split,
            "label": label,
            "given_label": label.where(split == "train"),
        }
    )
    names = [f"{c} + any" for c in range(heads)] + [f"{TAIL_LEFT} + {b}" for b in range(tails)]
    return Dataset(
        {"samples": samples},
        {"images": np.concatenate(images), "substructure": np.concatenate(rights).astype(np.int64)},
        meta={"class_names": names, "truth": ["substructure"]},
    )


def _draw(digit: np.ndarray, target: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each wanted digit [n] the index of a random image of `pool` that shows it."""
    chosen = np.empty(len(digit), dtype=np.int64)
    for value in range(10):
        wanted = digit == value
        chosen[wanted] = rng.choice(pool[target[pool] == value], size=int(wanted.sum()))
    return chosen
