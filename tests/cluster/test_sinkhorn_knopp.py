import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Representation
from tasks.cluster.sinkhorn_knopp import sinkhorn_knopp


def representation(n: int = 60, k: int = 4, seed: int = 0) -> Representation:
    rng = np.random.default_rng(seed)
    projection, prototypes = (rng.normal(size=(m, 3)) for m in (n, k))
    unit = np.arange(n)
    arrays = {
        name: (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        for name, x in (("projection", projection), ("prototypes", prototypes))
    }
    return Representation({"units": pd.DataFrame({"unit": unit, "sample": unit})}, arrays)


def test_codes_of_the_whole_set():
    given = representation()
    result = sinkhorn_knopp(given, epsilon=0.1, n_iter=2)
    result.check()
    q = np.exp(given.arrays["projection"].astype(float) @ given.arrays["prototypes"].T.astype(float) / 0.1).T
    for _ in range(2):
        q /= q.sum(axis=1, keepdims=True)
        q /= q.sum(axis=0, keepdims=True)
    assert np.allclose(result.arrays["membership"], q.T, atol=1e-5)
    assert np.array_equal(result.tables["units"]["cluster"], q.T.argmax(axis=1))
    assert result.meta["n_clusters"] == 4


def test_more_scalings_use_prototypes_more_evenly():
    spread = [sinkhorn_knopp(representation(), n_iter=n).arrays["membership"].sum(axis=0).std() for n in (0, 3, 300)]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 0.01


def test_bad_input():
    lacking = representation()
    del lacking.arrays["prototypes"]
    with pytest.raises(ValueError, match="array 'prototypes' is needed and absent; pretrain with step 'swav'"):
        sinkhorn_knopp(lacking)
    with pytest.raises(ValueError, match="at least 2 samples and 2 prototypes"):
        sinkhorn_knopp(representation(k=1))
