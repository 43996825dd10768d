from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.artifacts import Dataset
from tasks.pretrain.tfidf_lsa import tfidf_lsa
from tasks.vectors import cosine


def corpus(n: int = 40, held_out: int = 6) -> tuple[Dataset, list[str]]:
    rng = np.random.default_rng(0)
    words = [f"{a}{b}x" for a in "abcdef" for b in "mnop"]
    texts = [" ".join(rng.choice(words, 12, p=rng.dirichlet(np.full(len(words), 0.3)))) for _ in range(n)]
    split = pd.Series(["test"] * held_out + ["train"] * (n - held_out), dtype="str")
    sample = np.arange(n, dtype=np.int64)
    documents = pd.DataFrame({"sample": sample, "text": pd.Series(texts, dtype="str")})
    return Dataset({"samples": pd.DataFrame({"sample": sample, "split": split}), "documents": documents}), texts


def test_against_scikit_learn() -> None:
    dataset, texts = corpus()
    made = tfidf_lsa(dataset, dimensions=5, min_count=2)
    made.check()
    weigh = TfidfVectorizer(sublinear_tf=True, min_df=2)
    train = weigh.fit_transform(texts[6:])
    svd = TruncatedSVD(5, algorithm="arpack", random_state=0).fit(train)
    expected = svd.transform(weigh.transform(texts))
    np.testing.assert_allclose(np.abs(made.arrays["embedding"]), np.abs(expected), atol=1e-5)
    assert made.tables["vocabulary"]["token"].tolist() == weigh.get_feature_names_out().tolist()


@pytest.mark.parametrize("dimensions", [5, None])
def test_the_sum_of_word_vectors_is_the_folded_in_keyword_document(dimensions: int | None) -> None:
    dataset, _ = corpus()
    made = tfidf_lsa(dataset, dimensions=dimensions)
    tokens = made.tables["vocabulary"]["token"].tolist()
    keywords = [0, 3, 7]
    text = dataset.tables["documents"]["text"].copy()
    text.iloc[0] = " ".join(tokens[i] for i in keywords)  # a held-out document made of the keywords alone
    dataset.tables["documents"]["text"] = text
    folded = tfidf_lsa(dataset, dimensions=dimensions).arrays["embedding"][:1]
    assert cosine(folded, made.arrays["word_vectors"][keywords].sum(axis=0)[None])[0, 0] == pytest.approx(1, abs=1e-5)


def test_twice_is_bit_equal() -> None:
    dataset, _ = corpus()
    assert tfidf_lsa(dataset, dimensions=5).arrays["embedding"].tobytes() == (
        tfidf_lsa(dataset, dimensions=5).arrays["embedding"].tobytes()
    )


def test_held_out_documents_teach_nothing() -> None:
    dataset, _ = corpus()
    before = tfidf_lsa(dataset, dimensions=5)
    text = dataset.tables["documents"]["text"].copy()
    text.iloc[:6] = "amx amx"
    dataset.tables["documents"]["text"] = text
    np.testing.assert_array_equal(
        tfidf_lsa(dataset, dimensions=5).arrays["embedding"][6:], before.arrays["embedding"][6:]
    )


def test_documents_of_unknown_words_are_dropped_with_count() -> None:
    dataset, _ = corpus()
    text = dataset.tables["documents"]["text"].copy()
    text.iloc[2] = "unheard words"
    dataset.tables["documents"]["text"] = text
    made = tfidf_lsa(dataset, dimensions=5)
    assert made.meta["dropped_documents"] == 1
    assert 2 not in set(made.tables["units"]["sample"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dimensions": 34}, "^dimensions: 34 must be below the 34 documents"),
        ({"min_count": 35}, "^min_count: no word occurs in 35 documents"),
    ],
)
def test_bad_input(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfidf_lsa(corpus()[0], **parameters)
