import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters
from tasks.pseudo_label.hard_assignment import hard_assignment


def clusters(cluster: list[int], membership: list[list[float]] | None = None) -> Clusters:
    unit = np.arange(len(cluster))
    units = pd.DataFrame({"unit": unit, "cluster": cluster, "sample": unit})
    arrays = {} if membership is None else {"membership": np.array(membership, dtype=np.float32)}
    return Clusters({"units": units}, arrays, meta={"n_clusters": 3})


def test_label_is_the_cluster_and_weight_its_membership():
    result = hard_assignment(clusters([2, 0, 1], [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.2, 0.8, 0.0]]))
    result.check()
    assert result.tables["units"]["pseudo_label"].tolist() == [2, 0, 1]
    assert np.allclose(result.arrays["weight"], [0.7, 0.5, 0.8])
    assert result.meta["n_clusters"] == 3


def test_hard_clusters_weigh_one_and_noise_nothing():
    result = hard_assignment(clusters([2, -1, 1]))
    assert result.tables["units"]["pseudo_label"].tolist() == [2, -1, 1]
    assert result.arrays["weight"].tolist() == [1, 0, 1]


def test_bad_input():
    with pytest.raises(ValueError, match="2 memberships for 3 units"):
        hard_assignment(clusters([0, 1, 2], [[1, 0, 0], [0, 1, 0]]))
    with pytest.raises(ValueError, match="unit 1 is not in the cluster of its largest membership"):
        hard_assignment(clusters([0, 0], [[1, 0, 0], [0, 1, 0]]))
