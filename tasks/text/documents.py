"""Which documents a vocabulary can describe, and the representation that results."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset
from tasks.readers.text import documents_of
from tasks.text.tokens import tokenize


def tokens_of(dataset: Dataset) -> tuple[list[list[str]], np.ndarray]:
    """Tokens of every sample and whether it is in split train, bool [n]; ValueError if no train document has any."""
    tokens = [tokenize(text) for text in documents_of(dataset)]
    train = np.zeros(len(tokens), dtype=bool)
    train[dataset.rows("train")] = True
    if not any(tokens[row] for row in np.flatnonzero(train)):
        raise ValueError("dataset: no document of split train holds a word of 2 to 15 letters; add text")
    return tokens, train


def known_rows(tokens: list[list[str]], vocabulary: Container[str]) -> np.ndarray:
    """Rows int64 of the documents that hold a word of the vocabulary; the others have no meaningful vector."""
    return np.array([row for row, words in enumerate(tokens) if any(w in vocabulary for w in words)], dtype=np.int64)


def document_units(sample: np.ndarray) -> pd.DataFrame:
    """Table `units`: one unit for each of the samples that are left."""
    return pd.DataFrame({"unit": np.arange(len(sample), dtype=np.int64), "sample": sample.astype(np.int64)})
