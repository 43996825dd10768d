import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.cluster.kmeans import kmeans
from tasks.clustering.kmeans import assign


def inputs(seed: int = 0, units_per_sample: int = 1) -> tuple[Dataset, Representation]:
    """120 samples, the last 30 of them test and far away from all train samples."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(120), units_per_sample)
    x = rng.standard_normal((len(sample), 5)).astype(np.float32)
    x[sample >= 90] += 50
    split = pd.Series(["train"] * 90 + ["test"] * 30, dtype="str")
    units = pd.DataFrame({"unit": np.arange(len(sample)), "sample": sample})
    dataset = Dataset({"samples": pd.DataFrame({"sample": np.arange(120), "split": split})})
    return dataset, Representation({"units": units}, {"embedding": x})


@pytest.mark.parametrize("units_per_sample", [1, 3])
def test_centroids_come_from_train_and_every_unit_is_assigned(units_per_sample):
    dataset, representation = inputs(units_per_sample=units_per_sample)
    result = kmeans(dataset, representation, k=6, seed=0)
    result.check()
    units = result.tables["units"]
    assert np.abs(result.arrays["centroids"]).max() < 10
    assert np.array_equal(units["cluster"], assign(representation.arrays["embedding"], result.arrays["centroids"]))
    assert units.loc[units["sample"] < 90, "cluster"].nunique() == 6
    assert np.array_equal(units["sample"], representation.tables["units"]["sample"])
    assert result.meta["n_clusters"] == 6


def test_test_units_do_not_move_the_centroids_unless_all_are_fitted():
    dataset, representation = inputs()
    moved = Representation(representation.tables, {"embedding": representation.arrays["embedding"].copy()})
    moved.arrays["embedding"][90:] += 7
    train = [kmeans(dataset, r, k=6, seed=0).arrays["centroids"] for r in (representation, moved)]
    assert np.array_equal(*train)
    everything = kmeans(dataset, representation, k=6, fit_on="all", seed=0)
    assert np.abs(everything.arrays["centroids"]).max() > 40


def test_same_seed_is_bit_equal_and_another_differs():
    first, again, other = (kmeans(*inputs(), k=9, spherical=True, seed=s).arrays["centroids"] for s in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_too_many_clusters_is_refused():
    with pytest.raises(ValueError, match="k = 91 is more than the 90 rows"):
        kmeans(*inputs(), k=91, seed=0)
