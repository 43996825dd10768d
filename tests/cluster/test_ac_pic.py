import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Representation
from tasks.cluster.ac_pic import ac_pic
from tasks.clustering.path_integral import path_integral_clustering


def test_clusters_and_their_means():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    units = pd.DataFrame({"unit": np.arange(60), "sample": np.arange(60)})
    result = ac_pic(Representation({"units": units}, {"embedding": x}), k=4, neighbours=8)
    result.check()
    cluster = result.tables["units"]["cluster"].to_numpy()
    assert np.array_equal(cluster, path_integral_clustering(x, 4, neighbours=8))
    for c in range(4):
        assert np.allclose(result.arrays["centroids"][c], x[cluster == c].mean(axis=0))
    assert result.meta["n_clusters"] == 4
    with pytest.raises(ValueError, match="k = 50 must be between"):
        ac_pic(Representation({"units": units}, {"embedding": x}), k=50)
