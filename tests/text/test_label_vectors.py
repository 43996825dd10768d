"""Queries, candidates, outliers and label vectors against hand-computed answers and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics.pairwise import cosine_similarity

from tasks.text.label_vectors import (
    Selection,
    candidates,
    confidence,
    keyword_query,
    known_keywords,
    label_vector,
    outliers,
)

DOCUMENTS = np.array([[2, 0.2], [1, 0], [0.1, 3], [-1, 0]])
X, Y = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def select(
    max_docs: int | float | None = None,
    min_docs: int = 1,
    threshold: float | None = None,
    threshold_offset: float | None = None,
    clean_outliers: bool = False,
) -> Selection:
    return Selection(max_docs, min_docs, threshold, threshold_offset, clean_outliers)


def test_known_answer_without_training() -> None:
    for query, rows, expected in ((X, [1, 0], [1.5, 0.1]), (Y, [2, 0], [1.05, 1.6])):
        found = candidates(query, DOCUMENTS, select(max_docs=2))
        assert found.rows.tolist() == rows
        np.testing.assert_allclose(label_vector(DOCUMENTS, found), expected)


def test_keywords_count_alike_however_long_their_vectors() -> None:
    words = np.array([[10.0, 0], [0, 1]])
    np.testing.assert_allclose(keyword_query(words, normalize=True), [np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(keyword_query(words, normalize=False), np.array([10, 1]) / np.sqrt(101))


def test_greater_than_the_threshold_is_strict() -> None:
    documents = np.array([[1.0, 0], [3, 4], [0, 1]])  # cosines 1, 0.6, 0
    assert candidates(X, documents, select(threshold=0.6)).rows.tolist() == [0]
    assert candidates(X, documents, select(threshold=0.6 - 1e-9)).rows.tolist() == [0, 1]


def test_offset_counts_from_the_largest_cosine() -> None:
    documents = np.array([[4.0, 3], [3, 4], [0, 1]])  # cosines 0.8, 0.6, 0
    assert candidates(X, documents, select(threshold_offset=0.3)).rows.tolist() == [0, 1]
    # The authors' default, offset 0: nothing is strictly larger than the largest, `min_docs` gives the nearest.
    assert candidates(X, documents, select(threshold_offset=0.0)).rows.tolist() == [0]


def test_min_docs_fills_up_and_does_not_replace() -> None:
    assert candidates(X, DOCUMENTS, select(threshold=0.9999, min_docs=3)).rows.tolist() == [1, 0, 2]
    assert candidates(X, DOCUMENTS, select(threshold=-0.5, min_docs=1)).rows.tolist() == [1, 0, 2]


@pytest.mark.parametrize("min_docs", [4, 5, 100])
def test_min_docs_is_clipped_to_the_documents(min_docs: int) -> None:
    assert len(candidates(X, DOCUMENTS, select(threshold=0.99, min_docs=min_docs)).rows) == 4


def test_max_docs_as_a_share() -> None:
    documents = np.random.default_rng(0).normal(size=(200, 3))
    assert len(candidates(np.eye(3)[0], documents, select(max_docs=0.05)).rows) == 10
    assert select(max_docs=0.001).most(10) == 1


def test_ties_go_to_the_lower_row() -> None:
    assert candidates(X, np.array([[0.0, 1], [2, 0], [1, 0]]), select(max_docs=2)).rows.tolist() == [1, 2]


def test_candidates_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    documents, query = rng.normal(size=(50, 4)), rng.normal(size=4)
    similarity = cosine_similarity(documents, query[None])[:, 0]
    expected = [d for d in np.argsort(-similarity) if similarity[d] > 0.2][:7]
    found = candidates(query, documents, select(max_docs=7, threshold=0.2))
    assert found.rows.tolist() == expected
    np.testing.assert_allclose(found.similarity, similarity[expected])


def test_an_outlier_is_removed_from_the_mean() -> None:
    rng = np.random.default_rng(0)
    documents = np.concatenate([np.array([5.0, 0]) + rng.normal(scale=0.1, size=(30, 2)), [[40.0, 1.0]]])
    found = candidates(X, documents, select(max_docs=31, clean_outliers=True))
    assert found.rows[~found.kept].tolist() == [30]
    np.testing.assert_allclose(label_vector(documents, found), documents[:30].mean(axis=0))


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21])
def test_fewer_candidates_than_neighbours(count: int, recwarn: pytest.WarningsRecorder) -> None:
    assert len(outliers(np.random.default_rng(0).normal(size=(count, 3)))) == count
    assert not recwarn.list


def test_outliers_never_take_everybody() -> None:
    assert not outliers(np.ones((1, 2))).any()
    assert not outliers(np.random.default_rng(0).normal(size=(2, 2))).all()


def test_confidence_is_the_largest_softmax() -> None:
    similarity = np.random.default_rng(2).uniform(-1, 1, (6, 4))
    np.testing.assert_allclose(confidence(similarity), softmax(20 * similarity, axis=1).max(axis=1))
    assert np.isfinite(confidence(np.array([[1.0, -1.0]]), temperature=1e-3)).all()


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_scaling_the_documents_changes_no_candidate(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    documents, query = rng.normal(size=(30, 3)), rng.normal(size=3)
    one = candidates(query, documents, select(max_docs=12, clean_outliers=True))
    other = candidates(query, scale * documents, select(max_docs=12, clean_outliers=True))
    assert one.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(label_vector(scale * documents, other), scale * label_vector(documents, one), rtol=1e-9)


def test_keywords_are_lower_cased_and_counted_once() -> None:
    assert known_keywords({"a": ["Oil", "oil", "gas"]}, {"oil": 0, "gas": 1}) == {"a": ["oil", "gas"]}


def test_unknown_keywords_are_named_in_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"^keywords: topic 'energy': not in the vocabulary: coal, peat$"):
        assert known_keywords({"energy": ["oil", "coal", "peat"]}, {"oil": 0}) == {"energy": ["oil"]}


def test_shared_keywords_are_named_in_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"^keywords: shared by topics: 'oil' in a and b$"):
        known_keywords({"a": ["oil"], "b": ["oil", "gas"]}, {"oil": 0, "gas": 1})


def test_a_topic_without_a_known_keyword() -> None:
    with pytest.raises(ValueError, match=r"topic 'b': none of its keywords \(coal, peat\) is in the vocabulary"):
        known_keywords({"a": ["oil"], "b": ["coal", "peat"]}, {"oil": 0})


def test_no_topic() -> None:
    with pytest.raises(ValueError, match="there is no topic"):
        known_keywords({}, {"oil": 0})
