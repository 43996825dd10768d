"""Generated click logs: declared sizes, a click that depends on what is declared informative and on nothing else."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from tasks.prepare.sparse_clicks import sparse_clicks

SMALL = {"n": 4000, "informative": [2, 5, 12], "noise": [2, 10], "noise_copies": 3, "zipf_noise": 2, "replicates": 2}


def test_sizes_and_names():
    dataset = sparse_clicks(**SMALL)
    dataset.check()
    codes, names = dataset.arrays["codes"], dataset.meta["code_names"]
    assert codes.shape == (8000, 11)
    assert codes.dtype == np.int32
    for j, name in enumerate(names):
        if not name.startswith("zipf"):
            assert np.array_equal(np.unique(codes[:, j]), np.arange(int(name.split("_")[1])))
    assert [n.startswith("signal") for n in names] == dataset.arrays["informative"].tolist()
    assert sum(n.startswith("zipf") for n in names) == 2
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 6000, "test": 2000}
    given = dataset.samples["given_label"]
    assert given[dataset.samples["split"] == "test"].isna().all()
    assert (given.dropna() == dataset.samples["label"][given.notna()]).all()


def test_clicks_depend_on_the_informative_columns_alone():
    """Pearson's chi-squared test of each column against the click."""
    dataset = sparse_clicks(**{**SMALL, "n": 20_000}, seed=3)
    rows = dataset.arrays["replicate"] == 0
    y = dataset.samples["label"].to_numpy(dtype=int)[rows]
    for j, name in enumerate(dataset.meta["code_names"]):
        x = dataset.arrays["codes"][rows, j]
        if name.startswith("zipf"):
            continue
        counts = np.zeros((x.max() + 1, 2))
        np.add.at(counts, (x, y), 1)
        p = chi2_contingency(counts).pvalue
        assert (p < 1e-12) if name.startswith("signal") else (p > 1e-3), name


def test_strength_is_that_of_each_column():
    """Effects have standard deviation `strength` in the logit: recovered from 200,000 rows of one column of 4 values."""
    dataset = sparse_clicks(
        n=200_000, informative=[4], noise=[2], noise_copies=1, zipf_noise=0, replicates=1, strength=0.8, offset=-0.5
    )
    j = dataset.meta["code_names"].index("signal_4_0")
    x, y = dataset.arrays["codes"][:, j], dataset.samples["label"].to_numpy(dtype=int)
    rate = np.array([y[x == v].mean() for v in range(4)])
    logit = np.log(rate / (1 - rate))
    assert logit.std() == pytest.approx(0.8, abs=0.03)
    assert logit.mean() == pytest.approx(-0.5, abs=0.03)


def test_synergy_adds_an_exclusive_or_and_a_redundant_copy():
    dataset = sparse_clicks(**{**SMALL, "n": 20_000}, synergy=True)
    names = dataset.meta["code_names"]
    a, b, copy, signal = (
        dataset.arrays["codes"][:, names.index(n)] for n in ("xor_a", "xor_b", "copy_of_signal_0", "signal_2_0")
    )
    assert np.array_equal(copy, signal)
    y = dataset.samples["label"].to_numpy(dtype=int)
    assert y[(a ^ b) == 1].mean() - y[(a ^ b) == 0].mean() > 0.25
    for column in (a, b):
        assert abs(y[column == 1].mean() - y[column == 0].mean()) < 0.02
    truth = dict(zip(names, dataset.arrays["informative"].tolist(), strict=True))
    assert truth["xor_a"]
    assert truth["xor_b"]
    assert not truth["copy_of_signal_0"]


def test_replicates_are_independent_draws():
    dataset = sparse_clicks(**SMALL)
    one, two = (dataset.arrays["codes"][dataset.arrays["replicate"] == r] for r in (0, 1))
    assert len(one) == len(two) == 4000
    assert (one == two).mean(axis=0).max() < 0.7


def test_seeds():
    one, same, other = (sparse_clicks(**SMALL, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.arrays["codes"], same.arrays["codes"])
    assert one.samples.equals(same.samples)
    assert not np.array_equal(one.arrays["codes"], other.arrays["codes"])


def test_truth_is_stripped():
    hidden = sparse_clicks(**SMALL).without_truth()
    assert "informative" not in hidden.arrays
    assert "label" not in hidden.samples
