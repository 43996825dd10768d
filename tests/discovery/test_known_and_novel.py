import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.discovery.known_and_novel import check_number, class_means, known_classes, novel_rows, space_of, table_of


def dataset(given, split=None, is_known=None):
    n = len(given)
    samples = pd.DataFrame(
        {"sample": np.arange(n), "split": split or ["train"] * n, "given_label": pd.array(given, dtype="Int64")}
    )
    arrays = {"features": np.arange(2 * n, dtype=np.float32).reshape(n, 2)}
    if is_known is not None:
        arrays["is_known"] = np.array(is_known, dtype=np.uint8)
    return Dataset({"samples": samples}, arrays)


def test_known_rows_are_numbered_by_rising_label():
    known = known_classes(dataset([7, None, 2, 7, None]))
    assert known.rows.tolist() == [0, 2, 3]
    assert known.classes.tolist() == [2, 7]
    assert known.index.tolist() == [1, 0, 1]


def test_a_label_given_on_a_test_row_is_not_used():
    known = known_classes(dataset([7, 2, 5], split=["train", "train", "test"]))
    assert known.classes.tolist() == [2, 7]


@pytest.mark.parametrize(("given", "says"), [([None, None], "no known class"), ([3, 3, None], "only one known class")])
def test_too_few_known_classes(given, says):
    with pytest.raises(ValueError, match=says):
        known_classes(dataset(given))


def test_novel_rows_of_train_and_test():
    data = dataset([1, 2, None, None, None], ["train"] * 3 + ["test"] * 2, [1, 1, 0, 1, 0])
    assert novel_rows(data).tolist() == [2]
    assert novel_rows(data, "test").tolist() == [4]


def test_no_novel_rows():
    with pytest.raises(ValueError, match="no novel rows"):
        novel_rows(dataset([1, 2]))
    with pytest.raises(ValueError, match="is_known"):
        novel_rows(dataset([1, 2, None], ["train", "train", "test"]), "test")


def test_number_and_rows():
    with pytest.raises(ValueError, match="k = 4 is more than the 3 novel rows"):
        check_number(4, np.eye(3))
    with pytest.raises(ValueError, match="identical"):
        check_number(2, np.ones((3, 2)))
    check_number(3, np.eye(3))


def test_a_column_with_nan_is_named():
    data = dataset([1, 2, None])
    data.arrays["features"][1, 1] = np.nan
    with pytest.raises(ValueError, match="column 1"):
        table_of(data, "features")
    with pytest.raises(ValueError, match="no array 'pixels'"):
        table_of(data, "pixels")


def test_a_representation_of_other_units_is_refused():
    units = pd.DataFrame({"unit": [0, 1], "sample": [0, 0]})
    representation = Representation({"units": units}, {"embedding": np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match="one per sample"):
        space_of(dataset([1, 2]), representation, "embedding")
    with pytest.raises(ValueError, match="no array 'latent'"):
        space_of(dataset([1, 2]), representation, "latent")


def test_class_means_are_group_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), np.arange(30) % 4
    expected = np.stack([x[y == c].mean(axis=0) for c in range(4)])
    np.testing.assert_allclose(class_means(x, y, 4), expected, atol=1e-12)
