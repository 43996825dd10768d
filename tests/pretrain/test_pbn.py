import numpy as np
import pytest

from tasks.discovery.hidden_classes import Tuning
from tasks.nn.training import Optimizer
from tasks.pretrain.array_as_representation import array_as_representation
from tasks.pretrain.pbn import pbn
from tasks.readers.novel_classes import discovery_dataset


def blobs(seed=0, n=240):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 6, n)
    x = 4 * rng.normal(size=(6, 8))[y] + rng.normal(size=(n, 8))
    names = [str(c) for c in range(6)]
    columns = [f"x{i}" for i in range(8)]
    return discovery_dataset(x, y, class_names=names, known=[0, 1, 2, 3], column_names=columns).without_truth()


BRIEF = {"latent": 6, "w": 0.3, "epochs": 2, "batch_size": 64, "optimizer": Optimizer(name="adamw", lr=1e-2)}


def test_shapes_unit_length_and_network():
    dataset = blobs()
    result = pbn(dataset, **BRIEF, seed=0)
    result.check()
    assert result.arrays["embedding"].shape == result.arrays["latent"].shape == (240, 6)
    assert result.arrays["embedding"].dtype == np.float32
    norms = np.linalg.norm(result.arrays["embedding"].astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    assert result.networks["pbn"].config["classes"] == 4
    assert result.tables["curves"]["curve"].unique().tolist() == ["loss"]


def test_known_rows_only():
    """What the novel rows hold has no say in the network if it is trained on the known ones."""
    first, second = blobs(), blobs()
    novel = np.flatnonzero(first.samples["given_label"].isna())
    second.arrays["features"] = np.array(second.arrays["features"])
    second.arrays["features"][novel] *= -1
    for rows, same in (("known", True), ("all", False)):
        networks = [pbn(d, **{**BRIEF, "w": 0.9}, rows=rows, seed=0).networks["pbn"].state for d in (first, second)]
        assert all((networks[0][n] == networks[1][n]).all() for n in networks[0]) == same


def test_test_rows_have_no_say():
    first, second = blobs(), blobs()
    second.arrays["features"] = np.array(second.arrays["features"])
    second.arrays["features"][second.rows("test")] += 1
    train = first.rows("train")
    embedded = [pbn(d, **BRIEF, seed=0).arrays["latent"][train] for d in (first, second)]
    assert (embedded[0] == embedded[1]).all()


def test_tuning_sees_known_rows_only_and_sets_what_it_says():
    first, second = blobs(), blobs()
    novel = np.flatnonzero(first.samples["given_label"].isna())
    second.arrays["features"] = np.array(second.arrays["features"])
    second.arrays["features"][novel] *= -1
    tune = Tuning(folds=2, trials=3)
    results = [pbn(d, **BRIEF, tune=tune, seed=0) for d in (first, second)]
    assert results[0].meta["tuned"] == results[1].meta["tuned"]
    tuned = results[0].meta["tuned"]
    assert results[0].arrays["latent"].shape[1] == tuned["latent"]
    curve = results[0].tables["curves"].query("curve == 'tuning_by_trial'")
    assert len(curve) == 3
    assert curve["y"].between(0, 1).all()
    baseline = pbn(first, **{**BRIEF, "w": 1.0}, rows="known", tune=tune, seed=0)
    assert baseline.meta["tuned"]["w"] == 1.0


def test_seed():
    dataset = blobs()
    first, again, other = (pbn(dataset, **BRIEF, seed=s).arrays["latent"].tobytes() for s in (0, 0, 1))
    assert first == again != other


def without_given(dataset, keep):
    dataset.tables["samples"] = dataset.samples.assign(
        given_label=dataset.samples["given_label"].where(dataset.samples["given_label"].isin(keep))
    )
    return dataset


def test_degenerate_input():
    with pytest.raises(ValueError, match="no known class"):
        pbn(without_given(blobs(), []), **BRIEF, seed=0)
    with pytest.raises(ValueError, match="only one known class"):
        pbn(without_given(blobs(), [2]), **BRIEF, seed=0)
    dataset = blobs()
    dataset.tables["samples"] = dataset.samples.assign(given_label=dataset.samples["given_label"].fillna(3))
    with pytest.raises(ValueError, match="no novel rows"):
        pbn(dataset, **BRIEF, seed=0)
    dataset = blobs()
    dataset.arrays["features"] = np.array(dataset.arrays["features"])
    dataset.arrays["features"][dataset.samples["given_label"].isna().to_numpy()] = 1
    with pytest.raises(ValueError, match="identical"):
        pbn(dataset, **BRIEF, seed=0)
    dataset.arrays["features"][0, 4] = np.nan
    with pytest.raises(ValueError, match="column 4"):
        pbn(dataset, **BRIEF, seed=0)
    with pytest.raises(ValueError, match="3 known classes"):
        pbn(without_given(blobs(), [0, 1, 2]), **BRIEF, tune=Tuning(folds=1, trials=1), seed=0)


def test_array_as_representation():
    dataset = blobs()
    result = array_as_representation(dataset)
    result.check()
    assert (result.arrays["embedding"] == dataset.arrays["features"]).all()
    with pytest.raises(ValueError, match="no array 'images'"):
        array_as_representation(dataset, array="images")
