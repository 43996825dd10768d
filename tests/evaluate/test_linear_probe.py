import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Model
from tasks.evaluate.linear_probe import METRICS, linear_probe

SIZES = [150, 50, 20, 8]
TEST = [40, 10, 30, 20]


def make(seed: int = 0, granted: bool = True, substructure: bool = False, spread: float = 0.7):
    rng = np.random.default_rng(seed)
    train = rng.permutation(np.repeat(np.arange(4), SIZES))
    test = rng.permutation(np.repeat(np.arange(4), TEST))
    label = np.concatenate([train, test])
    hidden = rng.integers(3, size=len(label))
    x = np.concatenate([np.eye(4)[label], 2 * np.eye(3)[hidden]], axis=1) + spread * rng.normal(size=(len(label), 7))
    is_train = np.arange(len(label)) < len(train)
    truth = pd.Series(pd.array(label, dtype="Int64"))
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(label)),
            "split": pd.Series(np.where(is_train, "train", "test"), dtype="str"),
            "label": truth,
            "given_label": truth.where(is_train) if granted else truth.where(label < 0),
        }
    )
    arrays = {"substructure": hidden} if substructure else {}
    dataset = Dataset({"samples": samples}, arrays, meta={"truth": list(arrays)})
    return dataset, Model(arrays={"embedding": x.astype(np.float32)})


def reference(dataset, model, **options):
    x = np.array(model.arrays["embedding"], dtype=np.float64)
    y, n = dataset.samples["label"].to_numpy(dtype=int), sum(SIZES)
    scaler = StandardScaler().fit(x[:n])
    fit = LogisticRegression(max_iter=5000, **options).fit(scaler.transform(x[:n]), y[:n])
    return y[n:], fit.predict(scaler.transform(x[n:]))


@pytest.mark.parametrize(("class_weight", "option"), [("none", None), ("balanced", "balanced")])
def test_against_scikit_learn(class_weight, option):
    dataset, model = make()
    metrics = linear_probe(dataset, model, class_weight=class_weight, seed=0)
    metrics.check()
    y, predicted = reference(dataset, model, class_weight=option)
    recall = [(predicted[y == c] == c).mean() for c in range(4)]
    assert set(metrics.values) == set(METRICS) - {"substructure_accuracy"}
    assert metrics.values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert metrics.values["accuracy"] == pytest.approx((y == predicted).mean())
    assert metrics.values["balanced_accuracy"] != pytest.approx(metrics.values["accuracy"])
    assert metrics.values["head_accuracy"] == pytest.approx(recall[0])
    # 20 training samples are neither more than 100 nor fewer than 20.
    assert metrics.values["medium_accuracy"] == pytest.approx((recall[1] + recall[2]) / 2)
    assert metrics.values["tail_accuracy"] == pytest.approx(recall[3])
    curve = metrics.tables["curves"]
    assert set(curve["curve"]) == {"recall_by_class_size"}
    assert curve["x"].tolist() == [8, 20, 50, 150]
    np.testing.assert_allclose(curve["y"], recall[::-1])


def test_a_perfect_and_a_useless_embedding():
    dataset, model = make(spread=0.01)
    for class_weight in ("none", "balanced", "sampling", "ldam"):
        values = linear_probe(dataset, model, class_weight=class_weight, epochs=100, seed=0).values
        assert values["balanced_accuracy"] == 1.0
    useless = Model(arrays={"embedding": np.random.default_rng(0).normal(size=(328, 3)).astype(np.float32)})
    assert linear_probe(dataset, useless, seed=0).values["balanced_accuracy"] < 0.5


@pytest.mark.parametrize("class_weight", ["balanced", "sampling", "ldam"])
def test_weighting_helps_the_tail_at_the_expense_of_the_head(class_weight):
    dataset, model = make(spread=0.8)
    plain = linear_probe(dataset, model, class_weight="none", seed=0).values
    weighted = linear_probe(dataset, model, class_weight=class_weight, epochs=100, seed=0).values
    assert weighted["tail_accuracy"] > plain["tail_accuracy"]
    assert weighted["head_accuracy"] < plain["head_accuracy"]


def test_classes_of_equal_size_share_a_point_of_the_curve():
    dataset, model = make()
    # Class 2 becomes as large as class 3.
    drop = np.flatnonzero((dataset.samples["label"] == 2) & (dataset.samples["split"] == "train"))[:12]
    dataset.tables["samples"].loc[drop, "split"] = "unused"
    metrics = linear_probe(dataset, model, seed=0)
    assert metrics.tables["curves"]["x"].tolist() == [8, 50, 150]
    assert metrics.values["tail_accuracy"] == pytest.approx(metrics.tables["curves"]["y"][0])


def test_groups_without_classes_have_no_metric():
    dataset, model = make()
    values = linear_probe(dataset, model, head_above=1000, tail_below=0, seed=0).values
    assert "head_accuracy" not in values
    assert "tail_accuracy" not in values
    assert values["medium_accuracy"] == values["balanced_accuracy"]


def test_true_labels_of_train_where_the_setting_grants_none():
    values = [linear_probe(*make(granted=granted), seed=0).values for granted in (True, False)]
    assert values[0] == values[1]


def test_granted_labels_are_what_is_learned():
    dataset, model = make(spread=0.01)
    train = dataset.rows("train")
    dataset.tables["samples"].loc[train, "given_label"] = 3 - dataset.samples["label"].iloc[train]
    assert linear_probe(dataset, model, seed=0).values["accuracy"] == 0.0


def test_substructure_and_figures():
    dataset, model = make(substructure=True, spread=0.1)
    metrics = linear_probe(dataset, model, seed=0)
    assert metrics.values["substructure_accuracy"] > 0.95
    assert set(metrics.figures) == {"head_class"}
    subclass = np.full(328, -1)
    train = dataset.rows("train")
    label = dataset.labels("label", train)
    subclass[train] = np.where(label == 0, train % 5, 4 + label)
    model.arrays["subclass"] = subclass
    with_subclasses = linear_probe(dataset, model, seed=0)
    assert with_subclasses.values == metrics.values
    assert set(with_subclasses.figures) == {"head_class", "subclass_sizes"}
    for png in with_subclasses.figures.values():
        assert min(Image.open(io.BytesIO(png)).size) > 200
    assert with_subclasses.figures == linear_probe(dataset, model, seed=0).figures


def test_substructure_that_the_features_lack_cannot_be_read():
    dataset, model = make(substructure=True, spread=0.1)
    model.arrays["embedding"] = model.arrays["embedding"][:, :4]
    values = linear_probe(dataset, model, seed=0).values
    assert values["balanced_accuracy"] == 1.0
    assert values["substructure_accuracy"] < 0.6


@pytest.mark.parametrize("class_weight", ["sampling", "ldam"])
def test_seed(class_weight):
    runs = [linear_probe(*make(spread=1.0), class_weight=class_weight, epochs=3, seed=s) for s in (0, 0, 1)]
    assert runs[0].values == runs[1].values
    assert runs[0].values != runs[2].values


def test_bad_input():
    dataset, model = make()
    with pytest.raises(ValueError, match="3 embeddings for 328 samples"):
        linear_probe(dataset, Model(arrays={"embedding": np.ones((3, 2), np.float32)}), seed=0)
    with pytest.raises(ValueError, match="NaN"):
        linear_probe(dataset, Model(arrays={"embedding": np.full((328, 2), np.nan, np.float32)}), seed=0)
    rows = np.flatnonzero((dataset.samples["label"] == 1) & (dataset.samples["split"] == "test"))
    dataset.tables["samples"].loc[rows, "split"] = "unused"
    with pytest.raises(ValueError, match="labels of test: class 1 of 4 has no sample"):
        linear_probe(dataset, model, seed=0)
