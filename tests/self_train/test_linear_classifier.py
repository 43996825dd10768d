import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.artifacts import Dataset, Representation
from tasks.self_train.linear_classifier import linear_classifier


def make(granted: int = 12, seed: int = 0) -> tuple[Dataset, Representation]:
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1, 2], 30)
    x = (np.eye(3)[label] + 0.6 * rng.normal(size=(90, 3))) * [1, 10, 100] + [5, 0, -7]
    truth = pd.Series(label, dtype="Int64")
    samples = pd.DataFrame(
        {
            "sample": np.arange(90),
            "split": pd.Series(["train"] * 60 + ["test"] * 30, dtype="str"),
            "given_label": truth.where(np.arange(90) < granted),
        }
    )
    units = pd.DataFrame({"unit": np.arange(90), "sample": np.arange(90)})
    return Dataset({"samples": samples}), Representation({"units": units}, {"embedding": x.astype(np.float32)})


def test_against_scikit_learn_on_features_standardised_by_train():
    dataset, representation = make()
    model = linear_classifier(dataset, representation, regularization=0.5, seed=0)
    model.check()
    x = representation.arrays["embedding"].astype(float)
    x = (x - x[:60].mean(axis=0)) / x[:60].std(axis=0)
    fit = LogisticRegression(C=0.5, max_iter=5000).fit(x[:12], np.tile([0, 1, 2], 4))
    assert np.array_equal(model.tables["predictions"]["prediction"], fit.predict(x))
    assert np.array_equal(model.arrays["embedding"], representation.arrays["embedding"])
    assert model.meta["labels"] == 12


def test_fewer_labels_are_drawn_from_each_class():
    dataset, representation = make(granted=60)
    few = linear_classifier(dataset, representation, labels_per_class=2, seed=0)
    assert few.meta["labels"] == 6
    every = linear_classifier(dataset, representation, seed=0)
    assert every.meta["labels"] == 60
    again, other = (linear_classifier(dataset, representation, labels_per_class=2, seed=s) for s in (0, 1))
    assert again.tables["predictions"].equals(few.tables["predictions"])
    assert not other.tables["predictions"].equals(few.tables["predictions"])


def test_test_rows_do_not_scale_the_features():
    dataset, representation = make()
    changed = Representation(representation.tables, {"embedding": representation.arrays["embedding"].copy()})
    changed.arrays["embedding"][60:] *= 1000
    first, second = (
        linear_classifier(dataset, r, seed=0).tables["predictions"][:60] for r in (representation, changed)
    )
    assert first.equals(second)


def test_bad_input():
    dataset, representation = make(granted=1)
    with pytest.raises(ValueError, match="labels of at least two classes must be granted"):
        linear_classifier(dataset, representation, seed=0)
    del dataset.tables["samples"]["given_label"]
    with pytest.raises(ValueError, match="labels of at least two classes must be granted"):
        linear_classifier(dataset, representation, seed=0)
    dataset, representation = make()
    representation.tables["units"] = representation.tables["units"].iloc[:5]
    with pytest.raises(ValueError, match="5 units for 90 samples"):
        linear_classifier(dataset, representation, seed=0)
