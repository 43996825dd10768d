import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.cluster.within_class_kmeans import subclass_counts, within_class_kmeans
from tasks.readers.long_tail import long_tail_counts

CENTRES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)


def labeled(labels, names=None) -> Dataset:
    given = pd.array(labels, dtype="Int64")
    samples = pd.DataFrame(
        {"sample": np.arange(len(given)), "split": pd.Series(["train"] * len(given), dtype="str"), "given_label": given}
    )
    return Dataset({"samples": samples}, meta={} if names is None else {"class_names": names})


def represented(embedding, samples=None) -> Representation:
    sample = np.arange(len(embedding)) if samples is None else np.asarray(samples)
    return Representation(
        {"units": pd.DataFrame({"unit": np.arange(len(embedding)), "sample": sample})},
        {"embedding": np.asarray(embedding, dtype=np.float32)},
    )


@pytest.fixture
def long_tailed():
    """Three groups of 30, 20 and 10 in class 0, 12 rows in class 1, in shuffled order."""
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat([0, 1, 2, 3], [30, 20, 10, 12]))
    centres = np.concatenate([CENTRES, -CENTRES[:1]])
    x = centres[group] + 0.05 * rng.normal(size=(72, 3))
    return labeled((group == 3).astype(int)), represented(x), group


def subclass_of(clusters) -> np.ndarray:
    clusters.check()
    return clusters.tables["units"]["cluster"].to_numpy()


def test_subclass_counts_of_the_papers_data_sets():
    assert subclass_counts(long_tail_counts(500, 100, 100), 10).sum() == 1051
    assert subclass_counts(long_tail_counts(5000, 10, 100), 10).sum() == 242
    assert subclass_counts(np.array([200, 12]), 20).tolist() == [10, 1]
    assert subclass_counts(np.array([200, 25]), 20).tolist() == [8, 1]
    with pytest.raises(ValueError, match="min_size"):
        subclass_counts(np.array([3]), 0)


@pytest.mark.parametrize("balanced", [True, False])
def test_ids_are_contiguous_and_nest_in_classes(long_tailed, balanced):
    dataset, representation, group = long_tailed
    clusters = within_class_kmeans(dataset, representation, min_size=20, balanced=balanced, seed=0)
    cluster = subclass_of(clusters)
    assert sorted(set(cluster[group < 3])) == [0, 1, 2]
    assert set(cluster[group == 3]) == {3}
    assert clusters.arrays["subclasses"].tolist() == [3, 1]
    assert clusters.arrays["class_of_cluster"].tolist() == [0, 0, 0, 1]
    assert clusters.meta["n_clusters"] == 4
    assert clusters.tables["units"]["sample"].tolist() == list(range(72))


def test_cap_and_its_absence(long_tailed):
    dataset, representation, group = long_tailed
    capped, plain = (
        subclass_of(within_class_kmeans(dataset, representation, min_size=20, balanced=b, seed=0))
        for b in (True, False)
    )
    assert np.bincount(capped).tolist() == [20, 20, 20, 12]
    assert sorted(np.bincount(plain[group < 3])) == [10, 20, 30]
    assert len(set(zip(plain, group, strict=True))) == 4


def test_random_keeps_sizes_and_forgets_membership(long_tailed):
    dataset, representation, group = long_tailed
    options = {"min_size": 20, "balanced": False, "seed": 0}
    found, shuffled = (
        within_class_kmeans(dataset, representation, assignment=a, **options) for a in ("kmeans", "random")
    )
    a, b = subclass_of(found), subclass_of(shuffled)
    assert np.bincount(a).tolist() == np.bincount(b).tolist()
    assert len(set(zip(b, group, strict=True))) > 6
    z = representation.arrays["embedding"]
    for j in range(3):
        np.testing.assert_allclose(shuffled.arrays["centroids"][j], z[b == j].mean(axis=0), rtol=1e-5)


def test_order_of_rows_is_irrelevant_to_the_classes():
    # Features must be looked up by label, not cut out by class counts.
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat([0, 1, 2], [40, 20, 10]))
    clusters = within_class_kmeans(labeled(labels), represented(rng.normal(size=(70, 4))), min_size=10, seed=0)
    owner = clusters.arrays["class_of_cluster"]
    assert (owner[subclass_of(clusters)] == labels).all()
    assert clusters.arrays["subclasses"].tolist() == [4, 2, 1]


def test_cosine_ignores_length_and_euclidean_does_not():
    rng = np.random.default_rng(2)
    direction = np.array([[1.0, 0.0], [1.0, 0.05], [0.0, 1.0]])
    x = np.concatenate([direction[0] * rng.uniform(1, 2, (10, 1)), direction[1] * rng.uniform(50, 51, (10, 1))])
    x = np.concatenate([x, direction[2] * np.ones((10, 1))]) + 0.001 * rng.normal(size=(30, 2))
    dataset = labeled([0] * 30 + [1] * 10)
    representation = represented(np.concatenate([x, np.ones((10, 2))]))
    options = {"min_size": 15, "balanced": False, "seed": 0}
    cosine = subclass_of(within_class_kmeans(dataset, representation, metric="cosine", **options))
    euclidean = subclass_of(within_class_kmeans(dataset, representation, metric="euclidean", **options))
    assert len(set(cosine[:20])) == 1
    assert cosine[0] != cosine[20]
    assert len(set(euclidean[:10])) == 1
    assert euclidean[0] != euclidean[10]
    assert euclidean[0] == euclidean[20]


def test_units_without_a_label_belong_to_no_cluster():
    x = np.random.default_rng(0).normal(size=(50, 3))
    labels = [0] * 20 + [1] * 10 + [None] * 20
    clusters = within_class_kmeans(labeled(labels), represented(x), min_size=10, seed=0)
    cluster = subclass_of(clusters)
    assert (cluster[30:] == -1).all()
    assert sorted(set(cluster[:30])) == [0, 1, 2]


def test_units_may_be_some_of_the_samples_in_any_order(long_tailed):
    dataset, representation, group = long_tailed
    order = np.random.default_rng(3).permutation(72)
    moved = represented(representation.arrays["embedding"][order], order)
    clusters = within_class_kmeans(dataset, moved, min_size=20, balanced=False, seed=0)
    assert len(set(zip(subclass_of(clusters), group[order], strict=True))) == 4
    assert clusters.tables["units"]["sample"].tolist() == order.tolist()


def test_single_subclasses_run_but_warn():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.warns(UserWarning, match="SupCon plus an instance term"):
        clusters = within_class_kmeans(labeled([0, 1] * 10), represented(x), min_size=20, seed=0)
    assert subclass_of(clusters).tolist() == [0, 1] * 10


def test_settings_are_the_parameters(long_tailed):
    dataset, representation, _ = long_tailed
    given = {"min_size": 20, "metric": "euclidean", "balanced": False, "assignment": "random", "n_iter": 3}
    clusters = within_class_kmeans(dataset, representation, **given, seed=0)
    assert clusters.meta["settings"] == given
    again = within_class_kmeans(dataset, representation, **clusters.meta["settings"], seed=0)
    assert (subclass_of(again) == subclass_of(clusters)).all()


@pytest.mark.parametrize("options", [{"assignment": "random"}, {"balanced": False}, {}])
def test_seed(options):
    x = np.random.default_rng(0).normal(size=(120, 3))
    dataset = labeled([0] * 100 + [1] * 20)
    first, again, other = (within_class_kmeans(dataset, represented(x), **options, seed=s) for s in (0, 0, 1))
    assert (subclass_of(first) == subclass_of(again)).all()
    assert first.arrays["centroids"].tobytes() == again.arrays["centroids"].tobytes()
    assert not np.array_equal(subclass_of(first), subclass_of(other))


@pytest.mark.filterwarnings("ignore:min_size")
@pytest.mark.parametrize(
    ("labels", "embedding", "names", "message"),
    [
        ([0, 0, 2, 2], np.ones((4, 2)), None, "class 1 of 3 has no sample"),
        ([0, 0, 1, 1], np.ones((4, 2)), ["a", "b", "c"], "class 2 of 3 has no sample"),
        ([0, 0, 1, 1], np.full((4, 2), np.nan), None, "NaN or infinity"),
        ([0, 0, 1, 1], np.zeros((4, 2)), None, "row 0 is zero"),
        ([None] * 4, np.ones((4, 2)), None, "non-empty"),
    ],
)
def test_bad_input(labels, embedding, names, message):
    with pytest.raises(ValueError, match=message):
        within_class_kmeans(labeled(labels, names), represented(embedding), min_size=1, seed=0)


def test_labels_are_needed():
    dataset = labeled([0, 1])
    del dataset.tables["samples"]["given_label"]
    with pytest.raises(ValueError, match="given_label"):
        within_class_kmeans(dataset, represented(np.ones((2, 2))), seed=0)
