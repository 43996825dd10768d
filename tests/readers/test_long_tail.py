import numpy as np
import pytest

from tasks.readers.long_tail import class_sizes, long_tail_counts, long_tail_rows


def test_counts_of_cifar_10_lt():
    counts = long_tail_counts(5000, 10, 100)
    assert counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert counts.sum() == 12406


def test_counts_of_cifar_100_lt():
    counts = long_tail_counts(500, 100, 100)
    assert counts[:2].tolist() == [500, 477]
    assert counts[-1] == 5
    assert counts.sum() == 10847
    # Subclasses of at least 10 images each.
    assert np.maximum(1, counts // np.maximum(counts.min(), 10)).sum() == 1051


def test_rows_have_the_counts_whatever_the_order():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(10), 5000))
    rows = long_tail_rows(labels, 100.0, rng)
    assert np.bincount(labels[rows]).tolist() == long_tail_counts(5000, 10, 100).tolist()
    assert (np.diff(rows) > 0).all()


def test_small_class_keeps_all_of_its_images():
    labels = np.repeat([0, 1, 2], [100, 3, 20])
    rows = long_tail_rows(labels, 10.0, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [100, 3, 10]


def test_imbalance_1_keeps_everything():
    labels = np.repeat([0, 1, 2], 7)
    assert long_tail_rows(labels, 1.0, np.random.default_rng(0)).tolist() == list(range(21))


def test_one_class_keeps_everything():
    assert long_tail_rows(np.zeros(5, np.int64), 50.0, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_seed_decides_which_images():
    labels = np.repeat([0, 1, 2], 50)
    first, again, other = (long_tail_rows(labels, 10.0, np.random.default_rng(s)) for s in (0, 0, 1))
    assert (first == again).all()
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("labels", "imbalance", "message"),
    [
        ([0, 1], 0.5, "at least 1"),
        ([0, 1], float("nan"), "at least 1"),
        ([], 10.0, "non-empty"),
        ([-1, 0], 10.0, "0..C-1"),
        ([0, 0, 2], 10.0, "class 1 of 3 has no sample"),
        ([0, 1] * 5, 100.0, "leaves class 1 without images"),
    ],
)
def test_bad_input(labels, imbalance, message):
    with pytest.raises(ValueError, match=message):
        long_tail_rows(np.array(labels, dtype=np.int64), imbalance, np.random.default_rng(0))


def test_class_sizes():
    assert class_sizes(np.array([2, 0, 1, 2, 2])).tolist() == [1, 1, 3]
    with pytest.raises(ValueError, match=r"train: class 2 of 3 has no sample"):
        class_sizes(np.array([0, 1]), 3, what="train")
    with pytest.raises(ValueError, match=r"must be 0..1, got 0..2"):
        class_sizes(np.array([0, 1, 2]), 2)
