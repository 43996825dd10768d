import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.self_train.clusters_as_predictions import clusters_as_predictions


def make(cluster: list[int], samples: int = 3):
    units = pd.DataFrame({"unit": np.arange(len(cluster)), "sample": np.arange(len(cluster))})
    table = pd.DataFrame({"sample": np.arange(samples), "split": pd.Series(["train"] * samples, dtype="str")})
    x = np.arange(2.0 * len(cluster), dtype=np.float32).reshape(-1, 2)
    clusters = Clusters({"units": units.assign(cluster=cluster)}, meta={"n_clusters": 2})
    return Dataset({"samples": table}), Representation({"units": units}, {"embedding": x}), clusters


def test_clusters_are_handed_on():
    model = clusters_as_predictions(*make([1, 0, 1]))
    model.check()
    assert model.tables["predictions"]["prediction"].tolist() == [1, 0, 1]
    assert np.array_equal(model.arrays["embedding"], [[0, 1], [2, 3], [4, 5]])


def test_bad_input():
    with pytest.raises(ValueError, match="2 units for 3 samples"):
        clusters_as_predictions(*make([1, 0]))
    with pytest.raises(ValueError, match="1 units have no cluster"):
        clusters_as_predictions(*make([1, -1, 0]))
