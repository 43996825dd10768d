"""Label vectors as a clustering step: hand-made vectors, invariances, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.cluster.keyword_label_vectors import keyword_label_vectors


def data(documents: list[list[float]], keywords: list[list[str]] | None, held_out: int = 0) -> Dataset:
    n = len(documents)
    split = ["train"] * (n - held_out) + ["test"] * held_out
    samples = pd.DataFrame({"sample": np.arange(n, dtype=np.int64), "split": pd.Series(split, dtype="str")})
    meta: dict[str, Any] = (
        {} if keywords is None else {"keywords": keywords, "class_names": ["a", "b", "c"][: len(keywords)]}
    )
    return Dataset({"samples": samples}, meta=meta)


def vectors(documents: Any, words: dict[str, list[float]]) -> Representation:
    n, index = len(documents), np.arange(len(documents), dtype=np.int64)
    vocabulary = pd.DataFrame(
        {
            "word": np.arange(len(words), dtype=np.int64),
            "token": pd.Series(list(words), dtype="str"),
            "count": np.ones(len(words), dtype=np.int64),
        }
    )
    assert n > 0
    return Representation(
        {"units": pd.DataFrame({"unit": index, "sample": index}), "vocabulary": vocabulary},
        {
            "embedding": np.array(documents, dtype=np.float32),
            "word_vectors": np.array(list(words.values()), dtype=np.float32),
        },
    )


DOCUMENTS = [[2.0, 0.2], [1.0, 0.0], [0.1, 3.0], [-1.0, 0.0]]
WORDS = {"east": [1.0, 0.0], "north": [0.0, 1.0]}
BOTH = [["east"], ["north"]]


def test_known_answer(tmp_path: Path) -> None:
    made = keyword_label_vectors(data(DOCUMENTS, BOTH), vectors(DOCUMENTS, WORDS), max_docs=2, min_docs=1)
    made.save(tmp_path / "c")
    loaded = Clusters.load(tmp_path / "c")
    np.testing.assert_allclose(loaded.arrays["centroids"], [[1.5, 0.1], [1.05, 1.6]], rtol=1e-6)
    assert loaded.tables["units"]["cluster"].tolist() == [0, 0, 1, 1]
    assert loaded.tables["candidates"]["unit"].tolist() == [1, 0, 2, 0]
    assert loaded.meta["overlap"] == 1  # document 0 is a candidate of both
    assert loaded.meta["topics"] == ["a", "b"]


def test_no_candidates_makes_the_query_the_label_vector(tmp_path: Path) -> None:
    made = keyword_label_vectors(data(DOCUMENTS, BOTH), vectors(DOCUMENTS, WORDS), max_docs=0)
    made.save(tmp_path / "c")
    np.testing.assert_array_equal(made.arrays["centroids"], made.arrays["queries"])
    assert len(Clusters.load(tmp_path / "c").tables["candidates"]) == 0
    assert made.meta["overlap"] == 0


def test_held_out_documents_are_no_candidates_but_get_a_topic() -> None:
    documents = [*DOCUMENTS, [9.0, 0.0]]
    made = keyword_label_vectors(data(documents, BOTH, held_out=1), vectors(documents, WORDS), max_docs=2, min_docs=1)
    assert 4 not in set(made.tables["candidates"]["unit"])
    assert made.tables["units"]["cluster"].iloc[4] == 0
    np.testing.assert_allclose(made.arrays["centroids"][0], [1.5, 0.1], rtol=1e-6)


def random_case(seed: int = 0) -> tuple[Any, dict[str, list[float]]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(80, 5)), {w: rng.normal(size=5).tolist() for w in "pqrstu"}


THREE = [["p", "q"], ["r", "s"], ["t", "u"]]


@pytest.mark.parametrize("scale", [3.0, 0.01])
def test_scaling_all_document_vectors_changes_no_prediction(scale: float) -> None:
    documents, words = random_case()
    one = keyword_label_vectors(data(documents, THREE), vectors(documents, words))
    other = keyword_label_vectors(data(documents, THREE), vectors(scale * documents, words))
    assert one.tables["units"].equals(other.tables["units"])
    np.testing.assert_allclose(one.arrays["similarity"], other.arrays["similarity"], atol=1e-5)


def test_permuting_topics_permutes_columns() -> None:
    documents, words = random_case()
    order = [2, 0, 1]
    one = keyword_label_vectors(data(documents, THREE), vectors(documents, words))
    other = keyword_label_vectors(data(documents, [THREE[i] for i in order]), vectors(documents, words))
    np.testing.assert_array_equal(other.arrays["similarity"], one.arrays["similarity"][:, order])
    np.testing.assert_array_equal(np.array(order)[other.tables["units"]["cluster"]], one.tables["units"]["cluster"])


def test_twice_is_bit_equal() -> None:
    documents, words = random_case()
    one, two = (keyword_label_vectors(data(documents, THREE), vectors(documents, words)) for _ in range(2))
    assert one.arrays["similarity"].tobytes() == two.arrays["similarity"].tobytes()


def test_one_topic_gives_similarities_and_no_choice() -> None:
    made = keyword_label_vectors(data(DOCUMENTS, [["east"]]), vectors(DOCUMENTS, WORDS), max_docs=2, min_docs=1)
    assert made.arrays["similarity"].shape == (4, 1)
    assert set(made.tables["units"]["cluster"]) == {-1}


def test_keywords_given_here_replace_those_of_the_data_set() -> None:
    here = {"b": ["east"], "a": ["north"]}
    made = keyword_label_vectors(data(DOCUMENTS, BOTH), vectors(DOCUMENTS, WORDS), keywords=here, max_docs=0)
    assert made.meta["topics"] == ["a", "b"]  # in the order of the classes
    assert made.meta["keywords"] == [["north"], ["east"]]


def test_unlabelled_documents_take_any_topics() -> None:
    made = keyword_label_vectors(
        data(DOCUMENTS, None), vectors(DOCUMENTS, WORDS), keywords={"z": ["east"], "y": ["north"]}
    )
    assert made.meta["topics"] == ["y", "z"]


def test_unknown_keywords_are_kept_on_record() -> None:
    with pytest.warns(UserWarning, match="not in the vocabulary: west"):
        made = keyword_label_vectors(data(DOCUMENTS, [["east", "West"], ["north"]]), vectors(DOCUMENTS, WORDS))
    assert made.meta["unknown_keywords"] == [["West"], []]


@pytest.mark.parametrize(
    ("keywords", "parameters", "message"),
    [
        ([["west"], ["north"]], {}, r"topic 'a': none of its keywords \(west\)"),
        ([], {}, "there is no topic"),
        (None, {}, "the data set names none"),
        (BOTH, {"keywords": {"d": ["east"]}}, r"'d' is no topic of the data set \(a, b\)"),
        (BOTH, {"max_docs": 3, "min_docs": 4}, "max_docs: 3 is below min_docs, 4"),
        (BOTH, {"threshold": 0.1, "threshold_offset": 0.1}, "threshold: threshold_offset is given too"),
        (BOTH, {"max_docs": None}, "every document would speak for every topic"),
    ],
)
def test_bad_input(keywords: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keyword_label_vectors(data(DOCUMENTS, keywords), vectors(DOCUMENTS, WORDS), **parameters)


def test_fewer_documents_than_topics() -> None:
    with pytest.raises(ValueError, match=r"^keywords: 2 topics \(a, b\) but 1 documents"):
        keyword_label_vectors(data(DOCUMENTS[:1], BOTH), vectors(DOCUMENTS[:1], WORDS))


def test_a_representation_without_words() -> None:
    plain = vectors(DOCUMENTS, WORDS)
    del plain.arrays["word_vectors"]
    with pytest.raises(ValueError, match="it has no word vectors"):
        keyword_label_vectors(data(DOCUMENTS, BOTH), plain)
