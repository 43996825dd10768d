from itertools import pairwise

import numpy as np
import pytest

from tasks.prepare.clickstream_fraud import COUNTS, UNUSUAL, clickstream_fraud


@pytest.fixture(scope="module")
def dataset():
    return clickstream_fraud()


def test_declared_sizes_and_shares(dataset):
    dataset.check()
    events, gaps, group = (dataset.arrays[name] for name in ("events", "gaps", "group"))
    fraud = dataset.samples["label"].to_numpy(dtype=np.int64) == 1
    sizes = np.bincount(group)[1:]
    assert len(sizes) == 16
    assert sizes.min() >= 18
    assert sizes.max() <= 59
    assert 0.08 <= fraud.mean() <= 0.1
    assert fraud[(group >= 1) & (group <= 12)].all()
    assert not fraud[group > 12].any()
    assert fraud[group == 0].sum() == 60
    assert events.min() == 0
    assert events.max() == 24
    length = (events > 0).sum(axis=1)
    assert length[group == 0].min() == 8
    assert length[group == 0].max() == 39
    assert (length > 0).all()
    # Padding only at the end, no time in it, and none before the first event.
    assert np.array_equal(events > 0, np.arange(40) < length[:, None])
    assert (gaps[events == 0] == 0).all()
    assert (gaps[:, 0] == 0).all()
    assert (gaps[events > 0].reshape(-1) >= 0).all()
    assert np.allclose(dataset.arrays["features"][:, -2], length)
    assert np.allclose(dataset.arrays["features"][:, -1], gaps.sum(axis=1), rtol=1e-5)


def test_known_cases_are_fraud_of_the_earlier_days_only(dataset):
    samples, day = dataset.samples, dataset.arrays["day"]
    known = samples["given_label"].notna().to_numpy()
    assert (samples.loc[known, ["label", "given_label"]] == 1).all().all()
    assert day[known].max() < 10
    assert ((samples["split"] == "test").to_numpy() == (day >= 10)).all()
    early_fraud = (samples["label"] == 1).to_numpy() & (day < 10)
    assert 0.25 < known.sum() / early_fraud.sum() < 0.36


def test_a_ring_shows_two_unusual_features_and_a_script(dataset):
    features, group = dataset.arrays["features"][:, :8], dataset.arrays["group"]
    low, high = np.quantile(features[group == 0], [UNUSUAL, 1 - UNUSUAL], axis=0)
    for ring in range(1, 13):
        mine = features[group == ring]
        unusual = (mine <= low * 1.001).all(axis=0) & ~np.isin(np.arange(8), COUNTS) | (mine >= high).all(axis=0)
        assert unusual.sum() == 2
    pairs = {g: [set(pairwise(r.tolist())) for r in dataset.arrays["events"][group == g][:10]] for g in (0, 1)}
    overlap = {g: np.mean([len(a & b) / len(a | b) for a in s for b in s if a is not b]) for g, s in pairs.items()}
    assert overlap[1] > 2 * overlap[0]


def test_truth_is_stripped(dataset):
    stripped = dataset.without_truth()
    assert "group" not in stripped.arrays
    assert "label" not in stripped.samples


def test_seeds():
    one, two, other = (clickstream_fraud(n=1500, seed=s) for s in (3, 3, 4))
    for name, array in one.arrays.items():
        assert np.array_equal(array, two.arrays[name])
        assert not np.array_equal(array, other.arrays[name])
    assert one.samples.equals(two.samples)


def test_only_the_last_events_are_kept():
    short = clickstream_fraud(n=1500, max_length=10)
    assert short.arrays["events"].shape == (1500, 10)
    assert (short.arrays["gaps"][:, 0] == 0).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rule_days": 14}, "rule_days = 14 must be below days = 14"),
        ({"group_size": [60, 20]}, "group_size must not fall"),
        ({"n": 200}, "n = 200 is less than scripted groups"),
    ],
)
def test_bad_input(parameters, message):
    with pytest.raises(ValueError, match=message):
        clickstream_fraud(**parameters)
