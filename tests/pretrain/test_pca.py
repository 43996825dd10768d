import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset
from tasks.pretrain.pca import pca


def dataset(images: np.ndarray, n_train: int) -> Dataset:
    split = ["train"] * n_train + ["test"] * (len(images) - n_train)
    samples = pd.DataFrame({"sample": np.arange(len(images)), "split": pd.Series(split, dtype="str")})
    return Dataset({"samples": samples}, {"images": images})


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 20)) @ rng.standard_normal((20, 20))).reshape(60, 4, 5, 1).astype(np.float32)


def test_equals_the_singular_value_decomposition_of_train_rows(images):
    result = pca(dataset(images, 40), dim=6)
    result.check()
    x = images.reshape(60, 20).astype(np.float64)
    centred = x - x[:40].mean(axis=0)
    axes = np.linalg.svd(centred[:40], full_matrices=False)[2][:6]
    assert np.allclose(np.abs(result.arrays["embedding"]), np.abs(centred @ axes.T), atol=1e-3)
    assert result.arrays["embedding"].dtype == np.float32
    assert np.array_equal(result.tables["units"]["sample"], np.arange(60))


def test_test_rows_do_not_change_the_axes(images):
    changed = images.copy()
    changed[40:] *= 100
    first, second = pca(dataset(images, 40), dim=6), pca(dataset(changed, 40), dim=6)
    assert np.array_equal(first.arrays["embedding"][:40], second.arrays["embedding"][:40])


def test_more_columns_than_rows_agrees_with_the_other_solver(images):
    few = pca(dataset(images, 15), dim=5).arrays["embedding"][:15]
    centred = images[:15].reshape(15, 20).astype(np.float64)
    centred -= centred.mean(axis=0)
    assert np.allclose(few @ few.T, _best_gram(centred, 5), atol=1e-3)


def _best_gram(x: np.ndarray, rank: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(x @ x.T)
    return (vectors[:, -rank:] * values[-rank:]) @ vectors[:, -rank:].T


def test_normalize_keeps_the_direction_and_uint8_is_scaled(images):
    plain, unit = (pca(dataset(images, 40), dim=6, normalize=n).arrays["embedding"] for n in (False, True))
    assert np.allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    bytes_ = np.random.default_rng(1).integers(0, 256, (30, 4, 4, 1), dtype=np.uint8)
    as_bytes = pca(dataset(bytes_, 30), dim=3).arrays["embedding"]
    as_floats = pca(dataset(bytes_.astype(np.float64) / 255, 30), dim=3).arrays["embedding"]
    assert np.allclose(as_bytes, as_floats, atol=1e-6)


def test_bad_input_is_named(images):
    with pytest.raises(ValueError, match="dim = 21 is more than 20"):
        pca(dataset(images, 40), dim=21)
    with pytest.raises(ValueError, match=r"dim = 11 is more than 10.*train rows \(10\)"):
        pca(dataset(images, 10), dim=11)
    with pytest.raises(ValueError, match="array: the data set has no array 'pixels'"):
        pca(dataset(images, 40), dim=2, array="pixels")
    symmetric = np.array([-1.0, 0, 1])[:, None, None, None] * np.ones((1, 2, 2, 1))
    with pytest.raises(ValueError, match="normalize: sample 1 has a zero feature"):
        pca(dataset(symmetric, 3), dim=1, normalize=True)
    with pytest.raises(ValueError, match="array: all train rows of 'images' are equal"):
        pca(dataset(np.ones((4, 2, 2, 1)), 4), dim=2)
