import numpy as np
import pytest

from tasks.readers.novel_classes import discovery_dataset

NAMES = [f"c{i}" for i in range(5)]


def source(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size=(n, 4))
    x[:, 2] = 7
    return x, rng.integers(0, 5, n)


def make(x, y, known=(0, 3), **changes):
    columns = [f"x{i}" for i in range(x.shape[1])]
    dataset = discovery_dataset(x, y, class_names=NAMES, known=known, column_names=columns, **changes)
    dataset.check()
    return dataset


def test_permuted_novel_labels_change_nothing_but_the_truth():
    x, y = source()
    novel = ~np.isin(y, [0, 3])
    permuted = y.copy()
    permuted[novel] = np.random.default_rng(1).permutation(y[novel])
    assert (permuted != y).any()
    first, second = make(x, y), make(x, permuted)
    assert not first.samples["label"].equals(second.samples["label"])
    first, second = first.without_truth(), second.without_truth()
    assert first.samples.equals(second.samples)
    assert first.meta == second.meta
    assert {n: a.tobytes() for n, a in first.arrays.items()} == {n: a.tobytes() for n, a in second.arrays.items()}


def test_labels_are_given_on_known_train_rows_alone():
    x, y = source()
    samples = make(x, y).samples
    granted = samples["given_label"].notna().to_numpy()
    assert (granted == (np.isin(y, [0, 3]) & (samples["split"] == "train").to_numpy())).all()
    assert (samples["given_label"][granted] == samples["label"][granted]).all()
    assert (make(x, y).arrays["is_known"] == np.isin(y, [0, 3])).all()


def test_test_rows_are_drawn_within_known_classes_and_within_all_novel_rows():
    x, y = source()
    test = (make(x, y, test_size=0.3).samples["split"] == "test").to_numpy()
    strata = np.where(np.isin(y, [0, 3]), y, -1)
    for stratum in (0, 3, -1):
        assert test[strata == stratum].sum() == round(0.3 * (strata == stratum).sum())


def test_train_rows_alone_are_standardised_and_constant_columns_left_out():
    x, y = source()
    dataset = make(x, y)
    train = dataset.rows("train")
    features = dataset.arrays["features"].astype(float)
    assert dataset.meta["feature_names"] == ["x0", "x1", "x3"]
    np.testing.assert_allclose(features[train].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(features[train].std(axis=0), 1, atol=1e-6)
    kept = x[:, [0, 1, 3]]
    expected = (kept - kept[train].mean(axis=0)) / kept[train].std(axis=0)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_columns_as_they_are():
    x, y = source()
    dataset = make(x, y, standardise=False, drop_constant=False)
    assert (dataset.arrays["features"] == x.astype(np.float32)).all()


def test_a_constant_column_cannot_be_standardised():
    x, y = source()
    with pytest.raises(ValueError, match="column 'x2' is constant"):
        make(x, y, drop_constant=False)
    with pytest.raises(ValueError, match="every column is constant"):
        make(np.ones((200, 2)), y)


def test_a_column_with_nan_is_named():
    x, y = source()
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="column 'x1' has 1 NaN"):
        make(x, y)


@pytest.mark.parametrize(
    ("known", "says"), [([0], "1 known class;"), ([0, 0], "1 known class;"), (range(5), "no novel rows")]
)
def test_known_classes(known, says):
    x, y = source()
    with pytest.raises(ValueError, match=says):
        make(x, y, known=known)


def test_a_known_class_without_rows_and_a_train_split_without_novel_rows():
    x, y = source()
    with pytest.raises(ValueError, match="no row is of class c4"):
        make(x[y != 4], y[y != 4], known=[0, 4])
    with pytest.raises(ValueError, match="known and novel"):
        make(x, y, split=np.where(np.isin(y, [0, 3]), "train", "test").astype(object))


def test_seed():
    x, y = source()
    splits = [make(x, y, seed=s).samples["split"] for s in (0, 0, 1)]
    assert splits[0].equals(splits[1])
    assert not splits[0].equals(splits[2])
