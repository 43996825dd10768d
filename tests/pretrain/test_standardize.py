"""Standardised attributes against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset
from tasks.pretrain.standardize import standardize


def dataset(x: np.ndarray, n: int | None = None) -> Dataset:
    n = len(x) if n is None else n
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * n, dtype="str")})
    return Dataset({"samples": samples}, {"attributes": x})


def test_same_as_scikit_learn() -> None:
    x = np.random.default_rng(0).normal(3, [1, 10, 0.1, 2], size=(50, 4))
    x[:, 3] = 0.1  # a column without variance, whose mean is not exact
    expected = StandardScaler().fit_transform(x[:, :3])
    got = standardize(dataset(x))
    got.check()
    np.testing.assert_allclose(got.arrays["embedding"][:, :3], expected, atol=1e-5)
    assert (got.arrays["embedding"][:, 3] == 0).all()
    reduced = standardize(dataset(x), pca=2).arrays["embedding"]
    np.testing.assert_allclose(np.abs(reduced), np.abs(PCA(2).fit_transform(expected)), atol=1e-4)


def test_mistakes() -> None:
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="no array 'images'"):
        standardize(dataset(x), array="images")
    with pytest.raises(ValueError, match="4 entries for 5 samples"):
        standardize(dataset(x, 5))
    with pytest.raises(ValueError, match="pca = 3 is more than 2"):
        standardize(dataset(x), pca=3)
    with pytest.raises(ValueError, match="infinite values in row 2"):
        standardize(dataset(np.where(np.arange(4)[:, None] == 2, np.nan, x)))
