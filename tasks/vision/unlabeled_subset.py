"""Which images of a large data set a seed works on."""

import numpy as np

from tasks.artifacts import Dataset


def subset_rows(dataset: Dataset, train_images: int | None, seed: int) -> np.ndarray:
    """Samples int64, in order: `train_images` of split train, drawn by the seed (None: all), and all of split test.

    Raises ValueError: fewer images in train.
    """
    train = dataset.rows("train")
    if train_images is not None:
        if train_images > len(train):
            raise ValueError(f"train_images: {train_images} of {len(train)} images in split train")
        train = np.random.default_rng(seed).choice(train, train_images, replace=False)
    test = np.flatnonzero((dataset.samples["split"] == "test").to_numpy())
    return np.sort(np.concatenate([train, test])).astype(np.int64)
