"""Images that show several digits each, without any label."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.datasets import load_digits

from tasks.artifacts import Dataset

TRAIN_DIGITS = 1200
SIDE = 8
CLASSES = 10

Count = Annotated[int, Field(ge=1)]


def digit_mosaic(
    *,
    grid: Annotated[list[Count], Field(min_length=2, max_length=2)] = [2, 2],  # noqa: B006 (a declared default)
    n_train: Count = 3000,
    n_probe: Count = 500,
    n_test: Count = 1500,
    noise: Annotated[float, Field(ge=0)] = 0.1,
    limit: Count | None = None,
    seed: int = 0,
) -> Dataset:
    """Mosaics of scikit-learn's handwritten digits (UCI optdigits, Alpaydin & Kaynak 1998).

    The 1797 digits are split 1200 / 597 before any mosaic is drawn: `train` and `probe` show the former, `test`
    only digits never seen before. Each cell holds a digit drawn uniformly with replacement. The setting grants
    no label: `probe` is the labeled sample on which `evaluate` fits its linear probe.

    Parameters
    ----------
    grid: rows and columns of digits per image; the image has 8 * rows by 8 * columns pixels.
    n_train, n_probe, n_test: mosaics per split.
    noise: standard deviation of Gaussian pixel noise, on intensities 0..1; values are not clipped.
    limit: at most that many mosaics per split.
    seed: seed of the split, the mosaics and the noise.

    Returns `images` float32 [n, 8 rows, 8 columns, 1]; truth: `presence` uint8 [n, 10] (1 where the digit occurs)
    and `cells` int64 [n, rows * columns] (the digit in each cell, row by row).
    """
    rows, columns = grid
    digits: Any = load_digits()
    pixels = (digits.images / 16.0).astype(np.float32)
    split_stream, *streams = np.random.SeedSequence(seed).spawn(4)
    order = np.random.default_rng(split_stream).permutation(len(pixels))
    seen, unseen = order[:TRAIN_DIGITS], order[TRAIN_DIGITS:]
    images, cells, splits = [], [], []
    # One stream per split: the size of one leaves the others as they are.
    for split, count, pool, stream in zip(
        ("train", "probe", "test"), (n_train, n_probe, n_test), (seen, seen, unseen), streams, strict=True
    ):
        count = count if limit is None else min(count, limit)
        rng = np.random.default_rng(stream)
        chosen = rng.choice(pool, size=(count, rows, columns))
        mosaic = pixels[chosen].transpose(0, 1, 3, 2, 4).reshape(count, rows * SIDE, columns * SIDE, 1)
        images.append(mosaic + noise * rng.standard_normal(mosaic.shape, dtype=np.float32))
        cells.append(digits.target[chosen].reshape(count, rows * columns))
        splits += [split] * count
    cells_all = np.concatenate(cells).astype(np.int64)
    presence = (cells_all[:, :, None] == np.arange(CLASSES)).any(axis=1).astype(np.uint8)
    samples = pd.DataFrame({"sample": np.arange(len(splits), dtype=np.int64), "split": pd.Series(splits, dtype="str")})
    return Dataset(
        {"samples": samples},
        {"images": np.concatenate(images).astype(np.float32), "presence": presence, "cells": cells_all},
        meta={"class_names": [str(c) for c in range(CLASSES)], "truth": ["presence", "cells"]},
    )
