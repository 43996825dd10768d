import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.cluster.kmeans import kmeans
from tasks.pseudo_label.nearest_centroids import nearest_centroids


def representation(x: np.ndarray) -> Representation:
    unit = np.arange(len(x))
    return Representation({"units": pd.DataFrame({"unit": unit, "sample": unit})}, {"embedding": x.astype(np.float32)})


def clusters(centroids: np.ndarray) -> Clusters:
    return Clusters(arrays={"centroids": centroids.astype(np.float32)})


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 50), k=st.integers(2, 40), data=st.data(), seed=st.integers(0, 99))
def test_equals_brute_force_and_labels_are_distinct(n, k, data, seed):
    l = data.draw(st.integers(1, k - 1))  # noqa: E741
    rng = np.random.default_rng(seed)
    x, c = rng.standard_normal((n, 4)), rng.standard_normal((k, 4))
    result = nearest_centroids(representation(x), clusters(c), l=l)
    result.check()
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (c / np.linalg.norm(c, axis=1, keepdims=True)).T
    nearest, similarity = result.arrays["nearest"], result.arrays["similarity"]
    assert (nearest.shape, nearest.dtype, similarity.dtype) == ((n, l), np.int64, np.float32)
    assert np.allclose(similarity, -np.sort(-cosine, axis=1)[:, :l], atol=1e-5)
    assert np.allclose(similarity, np.take_along_axis(cosine, nearest, axis=1), atol=1e-5)
    assert (np.diff(similarity, axis=1) <= 0).all()
    assert all(len(set(row)) == l for row in nearest)
    assert np.array_equal(result.tables["units"]["pseudo_label"], nearest[:, 0])
    assert result.meta["n_clusters"] == k


def test_the_first_label_is_the_spherical_kmeans_cluster():
    x = np.random.default_rng(0).standard_normal((2000, 12)).astype(np.float32)
    samples = pd.DataFrame({"sample": np.arange(2000), "split": pd.Series(["train"] * 2000, dtype="str")})
    found = kmeans(Dataset({"samples": samples}), representation(x), k=64, spherical=True, seed=0)
    for l in (1, 8):  # noqa: E741
        result = nearest_centroids(representation(x), found, l=l)
        assert np.array_equal(result.arrays["nearest"][:, 0], found.tables["units"]["cluster"])


def test_ties_go_to_the_lower_cluster():
    c = np.array([[0, 1.0], [1, 0], [1, 0], [0.6, 0.8], [1, 0]])
    result = nearest_centroids(representation(np.array([[2.0, 0.0]])), clusters(c), l=4)
    assert result.arrays["nearest"].tolist() == [[1, 2, 4, 3]]


def test_length_does_not_matter():
    rng = np.random.default_rng(0)
    x, c = rng.standard_normal((30, 4)), rng.standard_normal((9, 4))
    plain = nearest_centroids(representation(x), clusters(c), l=3).arrays["nearest"]
    scaled = nearest_centroids(representation(5 * x), clusters(c * rng.uniform(0.1, 9, (9, 1))), l=3).arrays["nearest"]
    assert np.array_equal(plain, scaled)


def test_bad_input_is_named():
    x, c = np.random.default_rng(0).standard_normal((5, 2)), np.eye(3, 2) + 0.1
    with pytest.raises(ValueError, match="l = 3 must be below the number of clusters, 3"):
        nearest_centroids(representation(x), clusters(c), l=3)
    for value in (0, np.nan):
        bad = x.copy()
        bad[3] = value
        with pytest.raises(ValueError, match="embedding: 1 rows are zero or not finite, first row 3"):
            nearest_centroids(representation(bad), clusters(c), l=1)
    with pytest.raises(ValueError, match="centroids: 1 rows are zero"):
        nearest_centroids(representation(x), clusters(np.eye(3, 2)), l=1)
    with pytest.raises(ValueError, match="embedding must be a non-empty"):
        nearest_centroids(representation(x[:0]), clusters(c), l=1)
