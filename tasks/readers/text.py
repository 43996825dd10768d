"""A data set of text documents: their text, the topics that the user wants, and keywords for each topic."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.selection import NO_LABEL, Grant, choose_samples
from tasks.text.tokens import first_tokens, tokenize

Keywords = dict[str, Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]]
MaxTokens = Annotated[int, Field(ge=1)]


def text_dataset(
    texts: list[str],
    splits: np.ndarray,
    labels: np.ndarray | None,
    class_names: list[str],
    *,
    source: object,
    keywords: Keywords | None,
    max_tokens: int | None = None,
    test_share: float | None = None,
    limit: int | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """Table `documents` (sample, text) in random order, without documents that hold no token; keywords in `meta`.

    `splits` str [n], `labels` int64 [n] (`NO_LABEL` where unknown) or None, as `choose_samples` takes them; the
    selection is drawn from what has tokens. `meta`: `class_names`; `keywords`, one list per class, if there are any;
    `empty_documents`, how many were dropped. Without labels the topics that `keywords` names are the classes.

    Raises ValueError naming `source`, topic and remedy: no document with a token; `keywords` for other topics than
    the classes.
    """
    filled = [row for row, text in enumerate(texts) if tokenize(text)]
    if not filled:
        raise ValueError(f"path: {source} holds no document with a word of 2 to 15 letters; add text")
    if keywords is not None and labels is None:
        class_names = sorted(keywords)
    meta: dict = {"class_names": class_names} if class_names else {}
    if keywords is not None:
        meta["keywords"] = _in_order(keywords, class_names)
    # In folders the documents of a class lie side by side: the order must say nothing about the truth.
    order_stream, draw_stream = np.random.SeedSequence(seed).spawn(2)
    order = np.random.default_rng(order_stream).permutation(filled)
    rows, samples = choose_samples(
        splits[order],
        None if labels is None else labels[order],
        source=source,
        test_share=test_share,
        limit=limit,
        grant=grant,
        seed=int(draw_stream.generate_state(1)[0]),
    )
    chosen = [texts[row] for row in order[rows]]
    if max_tokens is not None:
        chosen = [first_tokens(text, max_tokens) for text in chosen]
    documents = pd.DataFrame({"sample": samples["sample"], "text": pd.Series(chosen, dtype="str")})
    meta |= {"empty_documents": len(texts) - len(filled), "truth": []}
    return Dataset({"samples": samples, "documents": documents}, meta=meta)


def documents_of(dataset: Dataset) -> list[str]:
    """The text of every sample; ValueError if the data set holds no text."""
    if "documents" not in dataset.tables:
        raise ValueError("dataset: table 'documents' is needed and absent; use a data set of text documents")
    return dataset.tables["documents"]["text"].tolist()


def class_index(names: list[str | None]) -> tuple[np.ndarray | None, list[str]]:
    """Names of classes (None: unknown) as int64 labels and the sorted names; None if no name is known."""
    known = sorted({name for name in names if name is not None})
    index = {name: position for position, name in enumerate(known)}
    labels = np.array([NO_LABEL if name is None else index[name] for name in names], dtype=np.int64)
    return (labels, known) if known else (None, [])


def _in_order(keywords: Keywords, class_names: list[str]) -> list[list[str]]:
    without, unknown = sorted(set(class_names) - set(keywords)), sorted(set(keywords) - set(class_names))
    if without:
        raise ValueError(
            f"keywords: topic '{without[0]}' has none; give every class keywords ({len(without)} lack them)"
        )
    if unknown:
        raise ValueError(f"keywords: '{unknown[0]}' is no class; the classes are {', '.join(class_names)}")
    return [keywords[name] for name in class_names]
