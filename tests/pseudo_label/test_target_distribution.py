import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from tasks.artifacts import Clusters, Representation
from tasks.pseudo_label.target_distribution import target_distribution


def make(k: int = 3) -> tuple[Representation, Clusters]:
    rng = np.random.default_rng(0)
    units = pd.DataFrame({"unit": np.arange(30), "sample": np.arange(30)})
    x, centroids = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(k, 4)).astype(np.float32)
    clusters = Clusters(
        {"units": units.assign(cluster=rng.integers(k, size=30))}, {"centroids": centroids}, meta={"n_clusters": k}
    )
    return Representation({"units": units}, {"embedding": x}), clusters


@pytest.mark.parametrize("mode", ["squared", "none"])
def test_softmax_of_unit_centroids_and_its_target(mode):
    representation, clusters = make()
    result = target_distribution(representation, clusters, mode=mode)
    result.check()
    unit = clusters.arrays["centroids"] / np.linalg.norm(clusters.arrays["centroids"], axis=1, keepdims=True)
    p = softmax(representation.arrays["embedding"] @ unit.T, axis=1)
    q = p if mode == "none" else p**2 / p.sum(axis=0)
    assert np.allclose(result.arrays["probability"], p, atol=1e-6)
    assert np.allclose(result.arrays["target"], q / q.sum(axis=1, keepdims=True), atol=1e-6)
    assert result.tables["units"]["pseudo_label"].equals(clusters.tables["units"]["cluster"].rename("pseudo_label"))
    assert result.meta == {"mode": mode, "n_clusters": 3}


def test_bad_input():
    representation, clusters = make()
    clusters.arrays["centroids"][1] = 0
    with pytest.raises(ValueError, match="centroid 1 is zero"):
        target_distribution(representation, clusters)
    del clusters.arrays["centroids"]
    with pytest.raises(ValueError, match="array 'centroids' is needed"):
        target_distribution(representation, clusters)
