import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from tasks.vectors import cosine, unit, unit_features

X = np.array([[100.0, 0], [0, 1.0], [3.0, 4.0], [0, 0.0]])


def test_unit_leaves_zero_as_it_is():
    np.testing.assert_allclose(unit(X), normalize(X))
    np.testing.assert_allclose(unit(X[2]), [0.6, 0.8])


def test_features_of_a_sample_may_not_be_zero():
    assert unit_features(X[:3].astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(unit_features(X[:3]), normalize(X[:3]))
    with pytest.raises(ValueError, match="sample 3 has a zero"):
        unit_features(X)


def test_cosine():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose(cosine(a, b), cosine_similarity(a, b))
    assert cosine(np.zeros((1, 3)), b).tolist() == [[0, 0, 0, 0, 0]]
