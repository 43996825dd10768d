import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.prepare.digits import digits


def test_every_digit_once_with_its_label():
    dataset = digits()
    dataset.check()
    flat, target = load_digits(return_X_y=True)
    images = (dataset.arrays["images"] * 16).reshape(-1, 64)
    assert images.shape == (1797, 64)
    assert sorted(map(bytes, images.astype(np.uint8))) == sorted(map(bytes, np.asarray(flat).astype(np.uint8)))
    index = {bytes(row): i for i, row in enumerate(np.asarray(flat).astype(np.uint8))}
    rows = [index[bytes(row)] for row in images.astype(np.uint8)]
    assert (np.asarray(target)[rows] == dataset.labels("label", np.arange(1797))).all()
    assert (len(dataset.rows("train")), len(dataset.rows("test"))) == (1200, 597)
    assert dataset.samples["given_label"].isna().all()


def test_labels_are_granted_to_so_many_train_images_of_each_digit():
    dataset = digits(labels_per_class=10)
    granted = np.flatnonzero(dataset.samples["given_label"].notna())
    assert set(granted) <= set(dataset.rows("train"))
    labels = dataset.labels("given_label", granted)
    assert np.bincount(labels).tolist() == [10] * 10
    assert (labels == dataset.labels("label", granted)).all()
    assert "label" not in dataset.without_truth().samples


def test_seed_and_independent_draws():
    first, again, other = (digits(n_train=50, n_test=20, labels_per_class=1, seed=s) for s in (0, 0, 1))
    assert first.arrays["images"].tobytes() == again.arrays["images"].tobytes()
    assert first.samples.equals(again.samples)
    assert first.arrays["images"].tobytes() != other.arrays["images"].tobytes()
    without = digits(n_train=50, n_test=20)
    assert without.arrays["images"].tobytes() == first.arrays["images"].tobytes()


def test_bad_input():
    with pytest.raises(ValueError, match=r"n_train \+ n_test = 1798: there are 1797 digits"):
        digits(n_train=1201, n_test=597)
    with pytest.raises(ValueError, match=r"labels_per_class = 9: digit 0 occurs \d times in train"):
        digits(n_train=20, n_test=0, labels_per_class=9)
