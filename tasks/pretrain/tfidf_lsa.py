"""Latent semantic analysis: documents and words in the space of a truncated singular value decomposition."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse.linalg import svds
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.artifacts import Dataset, Representation
from tasks.text.documents import document_units, known_rows, tokens_of


def tfidf_lsa(
    dataset: Dataset,
    *,
    dimensions: Annotated[int, Field(ge=1)] | None = 100,
    min_count: Annotated[int, Field(ge=1)] = 2,
) -> Representation:
    """Latent semantic analysis (Deerwester et al., JASIS 1990) of tf-idf vectors with sublinear term frequency.

    Fitted on split train; the other documents are folded in. A word's vector is what folding in a document that
    consists of this word gives, up to length: idf times its row of the right singular vectors. So the plain sum of the
    vectors of some words points where the document of these words would lie (which is how the keyword baseline of
    Haj-Yahia et al., ACL 2019, compares topics with documents).

    Parameters
    ----------
    dimensions: singular vectors kept; null: none is taken, documents stay in the space of the words.
    min_count: words that occur in fewer documents of train are ignored.

    Units are the documents that hold a word of the vocabulary; `meta.dropped_documents` counts the others. Returns
    `embedding` float32 [units, d], `word_vectors` float32 [words, d], table `vocabulary` (word, token, count of
    documents).

    Raises ValueError: no text; no word in `min_count` documents; `dimensions` not below both documents and words.
    """
    tokens, train = tokens_of(dataset)
    weigh = TfidfVectorizer(analyzer=_as_is, min_df=min_count, sublinear_tf=True, dtype=np.float64)  # pyright: ignore[reportArgumentType]
    fitted = [tokens[row] for row in np.flatnonzero(train)]
    try:
        train_DW = weigh.fit_transform(fitted)
    except ValueError as error:
        raise ValueError(
            f"min_count: no word occurs in {min_count} documents of split train; lower min_count"
        ) from error
    words = weigh.get_feature_names_out()
    rows = known_rows(tokens, weigh.vocabulary_)
    basis_WK = np.eye(len(words))
    if dimensions is not None:
        if dimensions >= min(train_DW.shape):
            raise ValueError(
                f"dimensions: {dimensions} must be below the {train_DW.shape[0]} documents and {len(words)} words; lower it"
            )
        # A fixed start makes the iteration repeatable; the sign of a vector makes its largest entry positive.
        right_KW = svds(train_DW, k=dimensions, v0=np.ones(min(train_DW.shape)))[2][::-1]  # pyright: ignore[reportOptionalSubscript]
        right_KW = right_KW * np.sign(right_KW[np.arange(dimensions), np.abs(right_KW).argmax(axis=1)])[:, None]
        basis_WK = right_KW.T
    embedding = weigh.transform([tokens[row] for row in rows]) @ basis_WK  # pyright: ignore[reportOperatorIssue]
    counts = np.asarray((train_DW > 0).sum(axis=0)).ravel().astype(np.int64)
    vocabulary = pd.DataFrame(
        {"word": np.arange(len(words), dtype=np.int64), "token": pd.Series(list(words), dtype="str"), "count": counts}
    )
    return Representation(
        {"units": document_units(rows), "vocabulary": vocabulary},
        {
            "embedding": np.asarray(embedding, dtype=np.float32),
            "word_vectors": (weigh.idf_[:, None] * basis_WK).astype(np.float32),
        },
        meta={"dropped_documents": len(tokens) - len(rows)},
    )


def _as_is(words: list[str]) -> list[str]:
    return words
