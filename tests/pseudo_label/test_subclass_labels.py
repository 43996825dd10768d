import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.pseudo_label.subclass_labels import (
    check_nesting,
    class_spread,
    concentration,
    subclass_labels,
    temperatures,
)

SIZES = np.array([200, 200, 12])
PHI = concentration(np.array([0.6, 0.9, 0.5]), SIZES)


def artifacts(labels, clusters, embedding, temperature: float | None = 0.1):
    sample = np.arange(len(labels))
    samples = pd.DataFrame(
        {
            "sample": sample,
            "split": pd.Series(["train"] * len(labels), dtype="str"),
            "given_label": pd.array(labels, dtype="Int64"),
        }
    )
    units = pd.DataFrame({"unit": sample, "sample": sample})
    return (
        Dataset({"samples": samples}),
        Representation(
            {"units": units}, {"embedding": np.asarray(embedding, np.float32)}, meta={"temperature": temperature}
        ),
        Clusters({"units": units.assign(cluster=np.asarray(clusters))[["unit", "cluster", "sample"]]}),
    )


@pytest.fixture
def three_classes():
    """Classes 0 and 1 of two subclasses each, class 2 of one; class 1 is spread out three times as far."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [40, 40, 10]))
    z = np.eye(3)[labels] + np.array([0.1, 0.3, 0.2])[labels, None] * rng.normal(size=(90, 3))
    return artifacts(labels, np.array([0, 2, 4])[labels] + (np.arange(90) % 2) * (labels < 2), z), labels


def test_known_temperatures():
    np.testing.assert_allclose(PHI, [0.11221, 0.16832, 0.16176], atol=5e-6)
    np.testing.assert_allclose(temperatures(PHI, 0.1, "linear", [20, 80]), [0.08620, 0.10818, 0.10561], atol=6e-6)
    np.testing.assert_allclose(temperatures(PHI, 0.1, "exp", [20, 80]), [0.23680, 0.29501, 0.28752], atol=6e-6)


def test_temperatures_without_clipping_keep_the_ratio_of_the_spreads():
    t = temperatures(PHI, 0.1, "linear", [0, 100])
    np.testing.assert_allclose(t / t[0], PHI / PHI[0])
    assert t.mean() == pytest.approx(0.1)


def test_spread_by_hand():
    z = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [5.0, 0.0]])
    # Unit rows (1, 0) and (0, 1) lie 1 / sqrt 2 from their mean; the second class has no spread.
    spread = class_spread(z, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(spread, [np.sqrt(0.5) / np.log(12), 0], atol=1e-12)


def test_classes_of_one_subclass_keep_the_temperature(three_classes):
    (dataset, representation, clusters), labels = three_classes
    result = subclass_labels(dataset, representation, clusters)
    result.check()
    t = result.arrays["class_temperature"]
    assert t.dtype == np.float32
    assert t[2] == np.float32(0.1)
    assert t[0] < 0.1 < t[1]
    table = result.tables["units"]
    assert table["given_label"].tolist() == labels.tolist()
    assert table["pseudo_label"].tolist() == clusters.tables["units"]["cluster"].tolist()


def test_forms(three_classes):
    inputs, _ = three_classes
    constant = subclass_labels(*inputs, class_temperature="constant", constant=0.12).arrays["class_temperature"]
    assert constant.tolist() == [np.float32(0.12)] * 3
    linear = subclass_labels(*inputs).arrays["class_temperature"]
    looser = subclass_labels(*inputs, class_temperature="exp").arrays["class_temperature"]
    np.testing.assert_allclose(looser[:2], 0.1 * np.exp(linear[:2] / 0.1), rtol=1e-5)
    assert looser[2] == np.float32(0.1)


def test_temperature_is_the_representations_unless_given(three_classes):
    inputs, _ = three_classes
    assert subclass_labels(*inputs).meta["temperature"] == 0.1
    warmer = subclass_labels(*inputs, temperature=0.2)
    np.testing.assert_allclose(
        warmer.arrays["class_temperature"], 2 * subclass_labels(*inputs).arrays["class_temperature"], rtol=1e-6
    )
    inputs[1].meta.clear()
    with pytest.raises(ValueError, match="set 'temperature'"):
        subclass_labels(*inputs)


def test_settings_give_the_same_labels_again(three_classes):
    inputs, _ = three_classes
    first = subclass_labels(*inputs, class_temperature="exp", clip_percentiles=[10.0, 90.0], temperature=0.3)
    inputs[1].meta.clear()
    again = subclass_labels(*inputs, **first.meta["settings"])
    assert first.arrays["class_temperature"].tobytes() == again.arrays["class_temperature"].tobytes()


def test_units_without_a_class():
    z = np.random.default_rng(0).normal(size=(6, 2))
    inputs = artifacts([0, 0, 1, 1, None, None], [0, 1, 2, 2, -1, -1], z)
    result = subclass_labels(*inputs)
    result.check()
    assert result.tables["units"]["pseudo_label"].tolist() == [0, 1, 2, 2, -1, -1]
    assert result.tables["units"]["given_label"].isna().tolist() == [False] * 4 + [True] * 2
    assert len(result.arrays["class_temperature"]) == 2


def test_nesting():
    assert check_nesting(np.array([1, 0, 0, 1]), np.array([2, 0, 1, 2])).tolist() == [2, 1]
    with pytest.raises(ValueError, match="cluster 1 has members of several classes"):
        check_nesting(np.array([0, 0, 1]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="without gaps"):
        check_nesting(np.array([0, 0, 1]), np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="without gaps"):
        check_nesting(np.array([0, 1]), np.array([-1, 0]))


def test_bad_input(three_classes):
    inputs, labels = three_classes
    with pytest.raises(ValueError, match="clip_percentiles must not fall"):
        subclass_labels(*inputs, clip_percentiles=[80.0, 20.0])
    with pytest.raises(ValueError, match="temperature must be above 0"):
        temperatures(PHI, 0.0, "linear", [20, 80])
    same = artifacts(labels, inputs[2].tables["units"]["cluster"], np.eye(3)[labels])
    with pytest.raises(ValueError, match="no temperature"):
        subclass_labels(*same)
