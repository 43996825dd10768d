"""Rankings as pseudo-labels of features."""

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, PseudoLabels, Representation
from tasks.prepare.sparse_clicks import sparse_clicks
from tasks.pretrain.feature_scores import feature_scores
from tasks.pseudo_label.feature_ranking import feature_ranking

RELEVANCE = np.array([0.2, 0.9, 0.2, -0.1, 0.5])


def case(relevance=RELEVANCE, groups=(0, 1, 0, 2, 1)):
    count = len(relevance)
    units = pd.DataFrame({"unit": np.arange(count, dtype=np.int64)})
    embedding = np.zeros((count, count + 1), dtype=np.float32)
    embedding[:, 0] = relevance
    arrays = {"embedding": embedding, "synergy": np.zeros((count, count), np.float32), "paired": np.arange(count)}
    return Representation({"units": units}, arrays), Clusters({"units": units.assign(cluster=np.array(groups))})


def test_singles(tmp_path):
    feature_ranking(*case(), k=2).save(tmp_path / "p")
    made = PseudoLabels.load(tmp_path / "p")
    assert made.arrays["order"].tolist() == [1, 4, 0, 2, 3]
    assert made.arrays["rank"].tolist() == [2, 0, 3, 4, 1]
    assert made.arrays["selected"].tolist() == [False, True, False, False, True]
    assert made.tables["units"]["pseudo_label"].tolist() == [0, 1, 0, 0, 1]
    np.testing.assert_allclose(made.arrays["weight"], RELEVANCE, rtol=1e-6)
    assert made.meta == {"k": 2, "ranking": "singles"}


def test_all_features_are_kept_without_k():
    assert feature_ranking(*case()).arrays["selected"].all()


def test_one_per_group():
    assert feature_ranking(*case(), ranking="one_per_group").arrays["order"].tolist() == [1, 0, 3, 4, 2]


def test_k_above_the_number_of_features():
    with pytest.raises(ValueError, match="k = 6 is more than the 5 features"):
        feature_ranking(*case(), k=6)


def test_3mr_takes_other_information_before_a_copy():
    """On clicks with a copy of the strongest column, and two columns that matter only together.

    The pair has the largest synergy of all, yet 3MR does not find it: neither column has anything in common with what is
    chosen before. A copy it does put off.
    """
    dataset = sparse_clicks(
        n=6000, informative=[8, 12], noise=[2, 10], noise_copies=2, zipf_noise=0, replicates=1, synergy=True, seed=1
    )
    names = np.array(dataset.meta["code_names"])
    scores = feature_scores(dataset.without_truth(), seed=0)
    pair = np.unravel_index(scores.arrays["synergy"].argmax(), scores.arrays["synergy"].shape)
    assert set(names[list(pair)]) == {"xor_a", "xor_b"}
    clusters = Clusters({"units": scores.tables["units"].assign(cluster=0)})
    singles = names[feature_ranking(scores, clusters).arrays["order"]]
    assert set(singles[:2]) == {"signal_8_0", "copy_of_signal_0"}
    three = names[feature_ranking(scores, clusters, ranking="3mr").arrays["order"]]
    assert three[0] == singles[0]
    assert three[1] == "signal_12_1"
