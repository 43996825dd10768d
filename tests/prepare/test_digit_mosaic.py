import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.prepare.digit_mosaic import digit_mosaic

SMALL = {"n_train": 300, "n_probe": 60, "n_test": 200}


def cell_pixels(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pixels [n, rows * columns, 64], by plain slicing."""
    cells = [images[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8, 0] for r in range(rows) for c in range(columns)]
    return np.stack(cells, axis=1).reshape(len(images), rows * columns, 64)


def test_splits_shapes_and_truth_agree():
    data = digit_mosaic(**SMALL)
    data.check()
    assert data.samples["split"].value_counts().to_dict() == {"train": 300, "probe": 60, "test": 200}
    images, presence, cells = (data.arrays[name] for name in ("images", "presence", "cells"))
    assert (images.shape, images.dtype) == ((560, 16, 16, 1), np.float32)
    assert (presence.shape, presence.dtype) == ((560, 10), np.uint8)
    assert (cells.shape, cells.dtype) == ((560, 4), np.int64)
    for row, digits in zip(presence, cells, strict=True):
        assert set(np.flatnonzero(row)) == set(digits)


def test_no_label_is_granted_and_no_truth_is_left():
    stripped = digit_mosaic(**SMALL).without_truth()
    assert set(stripped.arrays) == {"images"}
    assert list(stripped.samples) == ["sample", "split"]


@pytest.mark.parametrize("grid", [[2, 2], [1, 3]])
def test_cells_hold_the_digits_they_say_and_test_digits_are_unseen(grid):
    data = digit_mosaic(grid=grid, noise=0.0, **SMALL)
    digits = load_digits()
    number = {image.tobytes(): i for i, image in enumerate((digits.data / 16).astype(np.float32))}
    assert len(number) == 1797  # no two digits are equal, so pixels identify them
    pixels = cell_pixels(data.arrays["images"], *grid)
    ids = np.array([[number[cell.tobytes()] for cell in mosaic] for mosaic in pixels])
    assert np.array_equal(digits.target[ids], data.arrays["cells"])
    drawn = {split: set(ids[data.rows(split)].ravel()) for split in ("train", "probe", "test")}
    assert not (drawn["train"] | drawn["probe"]) & drawn["test"]
    assert len(drawn["train"] & drawn["probe"]) > 0
    assert max(len(drawn["train"] | drawn["probe"]), 0) <= 1200
    assert len(drawn["test"]) <= 597


def test_noise_has_the_declared_deviation_and_leaves_the_mosaics_alone():
    clean, noisy = digit_mosaic(noise=0.0, **SMALL), digit_mosaic(noise=0.1, **SMALL)
    residual = noisy.arrays["images"] - clean.arrays["images"]
    assert residual.std() == pytest.approx(0.1, rel=0.01)
    assert np.array_equal(clean.arrays["cells"], noisy.arrays["cells"])


def test_limit_and_other_sizes_leave_the_rest_as_it_is():
    whole, limited = digit_mosaic(**SMALL), digit_mosaic(**SMALL, limit=100)
    assert limited.samples["split"].value_counts().to_dict() == {"train": 100, "probe": 60, "test": 100}
    rows = whole.rows("probe"), limited.rows("probe")
    assert np.array_equal(whole.arrays["images"][rows[0]], limited.arrays["images"][rows[1]])


def test_same_seed_is_bit_equal_and_another_differs():
    first, again, other = (digit_mosaic(**SMALL, seed=s) for s in (0, 0, 1))
    assert first.arrays["images"].tobytes() == again.arrays["images"].tobytes()
    assert not np.array_equal(first.arrays["cells"], other.arrays["cells"])
