import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.prepare.digits_known_and_novel import digits_known_and_novel


def test_the_papers_split_of_optdigits():
    dataset = digits_known_and_novel()
    dataset.check()
    target = load_digits(return_X_y=True)[1]
    assert (dataset.samples["label"].to_numpy(dtype=int) == target).all()
    assert set(dataset.samples["given_label"].dropna()) == {1, 2, 7, 8, 9}
    assert dataset.arrays["features"].shape[0] == 1797
    assert dataset.arrays["features"].shape[1] in (60, 61, 62)
    assert len(dataset.rows("test")) == pytest.approx(0.3 * 1797, abs=4)
    assert "label" not in dataset.without_truth().samples


def test_columns_are_the_pixels():
    dataset = digits_known_and_novel(standardise=False, drop_constant=False, limit=50)
    assert (dataset.arrays["features"] == load_digits(return_X_y=True)[0][:50].astype(np.float32)).all()
    assert dataset.meta["feature_names"][9] == "pixel_1_1"


def test_one_class_named_twice():
    with pytest.raises(ValueError, match="1 known class"):
        digits_known_and_novel(known_classes=[1, 1])


def test_seed():
    splits = [digits_known_and_novel(seed=s).samples["split"] for s in (0, 0, 1)]
    assert splits[0].equals(splits[1])
    assert not splits[0].equals(splits[2])
