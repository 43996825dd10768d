"""Scores of a whole table: what they find, what they must not depend on, and what goes wrong."""

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.prepare.sparse_clicks import sparse_clicks
from tasks.pretrain.feature_scores import feature_scores
from tasks.tables.information import cross, dense, mutual_information

SMALL = {
    "n": 3000, "informative": [2, 5, 12], "noise": [2, 30, 1500], "noise_copies": 2, "zipf_noise": 1, "replicates": 1, "strength": 0.8,
}  # fmt: skip


def dataset_of(codes, y, test=0, names=None):
    n = len(codes)
    split = np.array(["train"] * (n - test) + ["test"] * test)
    given = pd.Series(y).astype("Int64").where(pd.Series(split == "train"))
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(split, dtype="str"), "given_label": given})
    names = names or [f"c{j}" for j in range(np.shape(codes)[1])]
    return Dataset({"samples": samples}, {"codes": np.asarray(codes, dtype=np.int32)}, meta={"code_names": names})


@pytest.fixture(scope="module")
def clicks():
    return sparse_clicks(**SMALL)


@pytest.fixture(scope="module")
def scored(clicks):
    return feature_scores(clicks.without_truth(), seed=0)


def test_informative_columns_come_first(clicks, scored, tmp_path):
    scored.save(tmp_path / "r")
    loaded = Representation.load(tmp_path / "r")
    order = np.argsort(-loaded.arrays["embedding"][:, 0])
    assert clicks.arrays["informative"][order[:3]].all()
    plain = np.argsort(-loaded.arrays["plain"])
    assert not clicks.arrays["informative"][plain[:2]].any()  # 1,500 values: noise, yet most plain information
    features = loaded.tables["features"]
    assert features["name"].tolist() == clicks.meta["code_names"]
    assert (features["coverage"] == 1).all()
    assert features["order"].tolist() == [1] * 10


def test_plain_information_and_cardinality_of_each_column(clicks, scored):
    train = clicks.rows("train")
    y = clicks.labels("given_label", train)
    for j in range(10):
        x, card = dense(clicks.arrays["codes"][train, j])
        assert scored.arrays["plain"][j] == pytest.approx(mutual_information(x, y), rel=1e-5)
        assert scored.tables["features"]["cardinality"][j] == card


def test_test_rows_change_nothing(clicks, scored):
    """Neither their labels, which are not granted, nor their columns."""
    changed = sparse_clicks(**SMALL).without_truth()
    test = changed.rows("test")
    codes = changed.arrays["codes"].copy()
    codes[test] = 0
    again = feature_scores(Dataset(changed.tables, changed.arrays | {"codes": codes}, meta=changed.meta), seed=0)
    for name, array in scored.arrays.items():
        assert array.tobytes() == again.arrays[name].tobytes(), name


def test_processes_change_nothing(clicks, scored):
    again = feature_scores(clicks.without_truth(), processes=2, seed=0)
    for name, array in scored.arrays.items():
        assert array.tobytes() == again.arrays[name].tobytes(), name


@pytest.mark.parametrize("noise", ["permutation", "shift"])
def test_renaming_values_changes_nothing(clicks, noise):
    options = {"noise": noise, "pairwise": 4, "seed": 1}
    hidden = clicks.without_truth()
    rng = np.random.default_rng(0)
    codes = np.stack([rng.permutation(c.max() + 1)[c] for c in hidden.arrays["codes"].T], axis=1).astype(np.int32)
    renamed = Dataset(hidden.tables, hidden.arrays | {"codes": codes}, meta=hidden.meta)
    one, two = feature_scores(hidden, **options), feature_scores(renamed, **options)
    for name in ("embedding", "synergy", "plain"):
        np.testing.assert_allclose(one.arrays[name], two.arrays[name], atol=1e-6)


def test_pairs_by_their_definition():
    """Redundancy is the information of two columns, synergy that of their cross with the label; plain, so without chance."""
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=(600, 3))
    codes[:, 1] = np.where(rng.random(600) < 0.7, codes[:, 0], codes[:, 1])
    y = ((codes[:, 0] ^ codes[:, 2]) & 1).astype(int)
    made = feature_scores(dataset_of(codes, y), heuristic="mutual_information", pairwise=3, seed=0)
    for f in range(3):
        for g in range(3):
            if f == g:
                continue
            assert made.arrays["embedding"][f, g + 1] == pytest.approx(
                mutual_information(codes[:, f], codes[:, g]), abs=1e-6
            )
            together = mutual_information(cross(codes[:, f], codes[:, g]), y)
            assert made.arrays["synergy"][f, g] == pytest.approx(together, abs=1e-6)
    assert made.arrays["synergy"][0, 2] == pytest.approx(np.log(2), abs=0.01)  # exclusive or


def test_only_the_top_is_paired(clicks):
    made = feature_scores(clicks.without_truth(), pairwise=3, seed=0)
    paired = made.arrays["paired"]
    assert paired.tolist() == sorted(np.argsort(-made.arrays["embedding"][:, 0])[:3].tolist())
    rest = np.setdiff1d(np.arange(10), paired)
    assert (made.arrays["embedding"][rest, 1:] == 0).all()
    assert (made.arrays["embedding"][np.ix_(paired, paired + 1)] != 0).all()
    none = feature_scores(clicks.without_truth(), pairwise=0, seed=0)
    assert len(none.arrays["paired"]) == 0


def test_a_cross_finds_what_no_column_shows():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=(2000, 4))
    made = feature_scores(dataset_of(codes, codes[:, 1] ^ codes[:, 3]), interaction_order=2, pairwise=0, seed=0)
    made.check()
    features, score = made.tables["features"], made.arrays["embedding"][:, 0]
    assert len(features) == 4 + 6
    best = int(score.argmax())
    assert features["name"][best] == "c1 x c3"
    assert features["order"][best] == 2
    assert made.arrays["members"][best].tolist() == [1, 3]
    assert made.arrays["members"][0].tolist() == [0, -1]
    assert score[best] == pytest.approx(np.log(2), abs=0.01)
    assert np.abs(np.delete(score, best)).max() < 0.01


def test_the_score_is_the_median_of_batches():
    rng = np.random.default_rng(0)
    codes, y = rng.integers(5, size=(350, 2)), rng.integers(2, size=350)
    options = {"heuristic": "mutual_information", "pairwise": 0, "seed": 0}
    made = feature_scores(dataset_of(codes, y), batch_size=100, least_batch=49, **options)
    assert made.meta["batches"] == 4
    parts = [slice(0, 100), slice(100, 200), slice(200, 300), slice(300, 350)]
    expected = [np.median([mutual_information(codes[p, j], y[p]) for p in parts]) for j in range(2)]
    np.testing.assert_allclose(made.arrays["embedding"][:, 0], expected, rtol=1e-5)
    every_third = feature_scores(dataset_of(codes, y), subsampling=3, **options)
    expected = [mutual_information(codes[::3, j], y[::3]) for j in range(2)]
    np.testing.assert_allclose(every_third.arrays["embedding"][:, 0], expected, rtol=1e-5)


def test_crosses_beyond_the_cap_are_spread_over_batches():
    rng = np.random.default_rng(0)
    codes, y = rng.integers(3, size=(400, 5)), rng.integers(2, size=400)
    made = feature_scores(
        dataset_of(codes, y), interaction_order=2, max_combinations=5, batch_size=200, pairwise=0, seed=0
    )
    assert made.meta["batches"] == 2
    assert (made.arrays["plain"] > 0).all()  # 10 crosses, 5 in each of 2 batches


def test_a_replicate_is_judged_alone():
    dataset = sparse_clicks(**(SMALL | {"replicates": 2})).without_truth()
    second = dataset.arrays["replicate"] == 1
    train = np.flatnonzero(second & (dataset.samples["split"] == "train").to_numpy())
    alone = dataset_of(
        dataset.arrays["codes"][train], dataset.labels("given_label", train), names=dataset.meta["code_names"]
    )
    one, two = feature_scores(dataset, seed=3, pairwise=0), feature_scores(alone, seed=3, pairwise=0)
    np.testing.assert_array_equal(one.arrays["embedding"], two.arrays["embedding"])


def test_missing_values():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    codes = np.stack([np.full(300, -1), np.where(y == 1, -1, rng.integers(3, size=300)), rng.integers(3, size=300)], 1)
    made = feature_scores(dataset_of(codes, y), seed=0)
    assert made.arrays["embedding"][0, 0] == 0
    assert made.tables["features"]["coverage"].tolist() == pytest.approx([0, (y == 0).mean(), 1])
    assert made.arrays["plain"][1] == pytest.approx(mutual_information(y, y), abs=1e-6)  # being missing says it all


@pytest.mark.parametrize(
    "heuristic",
    ["adjusted_mutual_information", "surrogate", "max_pair_coverage", "random_forest", "mutual_information"],
)
def test_every_heuristic_sees_a_column_that_is_the_label(heuristic):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    codes = np.stack([rng.integers(3, size=400), y, rng.integers(3, size=400)], axis=1)
    made = feature_scores(dataset_of(codes, y), heuristic=heuristic, n_trees=10, pairwise=2, seed=0)
    made.check()
    assert made.arrays["embedding"][:, 0].argmax() == 1


def test_seeds(clicks):
    hidden = clicks.without_truth()
    one, same, other = (feature_scores(hidden, pairwise=3, seed=s) for s in (1, 1, 2))
    assert one.arrays["embedding"].tobytes() == same.arrays["embedding"].tobytes()
    assert one.arrays["embedding"].tobytes() != other.arrays["embedding"].tobytes()


def test_bad_input():
    codes, y = np.array([[0, 1], [1, 1], [0, 1], [1, 1]]), [0, 1, 1, 0]
    with pytest.raises(ValueError, match=r"no coded column \(array 'codes'\)"):
        feature_scores(Dataset(dataset_of(codes, y).tables), seed=0)
    with pytest.raises(ValueError, match="no coded column"):
        feature_scores(dataset_of(np.zeros((4, 0)), y), seed=0)
    with pytest.raises(ValueError, match="column 'a' occurs more than once"):
        feature_scores(dataset_of(codes, y, names=["a", "a"]), seed=0)
    with pytest.raises(ValueError, match="1 train rows; a ranking needs 2"):
        feature_scores(dataset_of(codes[:1], y[:1]), seed=0)
    with pytest.raises(ValueError, match="1 train rows"):
        feature_scores(dataset_of(codes, y), subsampling=4, seed=0)
    with pytest.raises(ValueError, match="'given_label' has one value on all train rows"):
        feature_scores(dataset_of(codes, [1] * 4), seed=0)
    with pytest.raises(ValueError, match=r"all 2 columns are constant on the train rows \(first: 'c0'\)"):
        feature_scores(dataset_of(np.ones((4, 2)), y), seed=0)
    with pytest.raises(ValueError, match=r"interaction_order: 4 makes 66,018,450 features of 200 columns"):
        feature_scores(dataset_of(np.tile(codes, 100), y), interaction_order=4, seed=0)
