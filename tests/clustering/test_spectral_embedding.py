import networkx
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import spectral_embedding as reference_embedding

from tasks.clustering.spectral_embedding import spanning_tree_affinity, spectral_embedding


def tree_weights(x, affinity):
    graph = networkx.from_numpy_array(cdist(x, x))
    return [affinity[i, j] for i, j in networkx.minimum_spanning_edges(graph, data=False)]


@pytest.mark.parametrize("delta", [0.5, 0.116, 0.9])
def test_the_weakest_edge_of_the_tree_weighs_the_root_of_delta(delta):
    x = np.random.default_rng(0).normal(size=(40, 5))
    affinity = spanning_tree_affinity(x, delta)
    assert min(tree_weights(x, affinity)) == pytest.approx(np.sqrt(delta), abs=1e-6)
    assert (np.diag(affinity) == 0).all()
    assert (affinity == affinity.T).all()


def test_known_answer_for_a_half():
    affinity = spanning_tree_affinity(np.array([[0.0], [1.0], [3.0]]), 0.5)
    # m = 4, s^2 = 4 / ln 2
    assert affinity[1, 2] == pytest.approx(0.7071, abs=1e-4)
    assert affinity[0, 1] == pytest.approx(0.5 ** (1 / 8))
    assert affinity[0, 2] == pytest.approx(0.5 ** (9 / 8))


def test_equal_rows_do_not_change_the_largest_edge():
    x = np.array([[0.0], [1.0], [3.0]])
    twice = spanning_tree_affinity(np.repeat(x, 2, axis=0), 0.5)
    np.testing.assert_allclose(twice[::2, ::2], spanning_tree_affinity(x, 0.5))
    assert twice[0, 1] == 1


def test_identical_rows():
    with pytest.raises(ValueError, match="identical"):
        spanning_tree_affinity(np.ones((5, 2)), 0.5)


def test_components_are_orthonormal_eigenvectors_from_the_second_on():
    x = np.random.default_rng(1).normal(size=(30, 3))
    affinity = spanning_tree_affinity(x, 0.3)
    root = np.sqrt(affinity.sum(axis=1))
    laplacian = np.eye(30) - affinity / np.outer(root, root)
    vectors = spectral_embedding(x, min_dist=0.3, n_components=6)
    values = np.linalg.eigvalsh(laplacian)
    np.testing.assert_allclose(laplacian @ vectors, vectors * values[1:7], atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-10)
    assert (np.abs(vectors.T @ root) < 1e-8).all()  # the first eigenvector is left out


def test_scikit_learn_spans_the_same_axes():
    """Its embedding is ours divided by the root of the degree, up to signs and scale."""
    x = np.random.default_rng(2).normal(size=(25, 3))
    affinity = spanning_tree_affinity(x, 0.2)
    theirs = reference_embedding(affinity, n_components=3, eigen_solver="arpack", random_state=0)
    ours = spectral_embedding(x, min_dist=0.2, n_components=3) / np.sqrt(affinity.sum(axis=1))[:, None]
    cosine = np.abs((ours * theirs).sum(axis=0)) / np.linalg.norm(ours, axis=0) / np.linalg.norm(theirs, axis=0)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)


def test_too_many_components():
    with pytest.raises(ValueError, match="n_components = 5 is more than 4"):
        spectral_embedding(np.eye(5), min_dist=0.5, n_components=5)
