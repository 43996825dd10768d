"""A small image data set for the steps that train on views of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """`dataset(n_train, n_test)`: random grey images of 6 x 6, the same in every call."""

    def make(n_train: int = 16, n_test: int = 3) -> Dataset:
        images = np.random.default_rng(0).random((n_train + n_test, 6, 6, 1), dtype=np.float32)
        split = pd.Series(["train"] * n_train + ["test"] * n_test, dtype="str")
        samples = pd.DataFrame({"sample": np.arange(len(images)), "split": split})
        return Dataset({"samples": samples}, {"images": images})

    return make
