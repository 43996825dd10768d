import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, Dataset
from tasks.pseudo_label.risky_clusters import risky_clusters


def inputs(cluster: list[int], known: list[int], column: str = "given_label") -> tuple[Dataset, Clusters]:
    n = len(cluster)
    given = pd.array([1 if i in known else None for i in range(n)], dtype="Int64")
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * n, dtype="str"), column: given})
    units = pd.DataFrame({"unit": np.arange(n), "cluster": np.array(cluster), "sample": np.arange(n)})
    return Dataset({"samples": samples}), Clusters({"units": units})


# Cluster 0: 3 known of 20 (0.15). Cluster 1: 2 of 4. Cluster 2: 3 of 21 (below 0.15). Noise: 5 of 5.
CLUSTER = [0] * 20 + [1] * 4 + [2] * 21 + [-1] * 5
KNOWN = [0, 1, 2, 20, 21, 24, 25, 26, 45, 46, 47, 48, 49]


def test_both_thresholds_include_their_bound_and_noise_is_never_flagged():
    result = risky_clusters(*inputs(CLUSTER, KNOWN))
    result.check()
    assert result.tables["clusters"]["risky"].tolist() == [True, False, False]
    assert result.tables["clusters"]["known"].tolist() == [3, 2, 3]
    assert result.tables["units"]["pseudo_label"].tolist() == [1] * 20 + [0] * 30
    lower = risky_clusters(*inputs(CLUSTER, KNOWN), min_known=2, min_share=0.1)
    assert lower.tables["clusters"]["risky"].tolist() == [True, True, True]
    assert lower.tables["units"]["pseudo_label"].tolist() == [1] * 45 + [0] * 5


@pytest.mark.parametrize("cluster", [[-1] * 10, [0] * 10])
def test_no_risky_cluster_is_no_error(cluster):
    result = risky_clusters(*inputs(cluster, []))
    result.check()
    assert result.meta == {"flagged": 0, "n_risky": 0, "min_known": 3}


def test_bad_input():
    dataset, clusters = inputs(CLUSTER, KNOWN, column="label")
    with pytest.raises(ValueError, match="column 'given_label' is needed and absent"):
        risky_clusters(dataset, clusters)
    dataset, clusters = inputs(CLUSTER, KNOWN)
    dataset.samples.loc[0, "given_label"] = 3
    with pytest.raises(ValueError, match="given_label 3 is neither"):
        risky_clusters(dataset, clusters)
