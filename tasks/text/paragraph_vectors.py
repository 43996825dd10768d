"""Document and word vectors in one space (paragraph vectors), by gensim, without its sources of chance.

gensim breaks ties in the order of the vocabulary by a sort that differs between processors and starts inference from
Python's hash of the text, which differs between processes. Here the vocabulary stays in the order of first occurrence,
and inference starts from the seed and a checksum of the tokens.

Shape legend: D dimensions.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.doc2vec import Doc2Vec, TaggedDocument, train_document_dbow, train_document_dm

from tasks import progress
from tasks.artifacts import Network


@dataclass(frozen=True)
class ParagraphVectorSettings:
    """What gensim's `Doc2Vec` is told; the names are those of the step `doc2vec`."""

    algorithm: Literal["dbow", "dm"]
    train_words: bool
    vector_size: int
    window: int
    epochs: int
    min_count: int
    sample: float
    negative: int
    hierarchical_softmax: bool

    def model(self, seed: int) -> Doc2Vec:
        """An empty model; one worker, since the updates of several would meet in any order."""
        with _quietly():
            return self._model(seed)

    def _model(self, seed: int) -> Doc2Vec:
        model = Doc2Vec(
            dm=int(self.algorithm == "dm"),
            dbow_words=int(self.train_words),
            vector_size=self.vector_size,
            window=self.window,
            epochs=self.epochs,
            min_count=self.min_count,
            sample=self.sample,
            negative=self.negative,
            hs=int(self.hierarchical_softmax),
            seed=seed,
            workers=1,
        )
        model.sorted_vocab = False  # `Doc2Vec` does not take this argument of `Word2Vec`
        return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Without gensim's warnings that both losses are summed, which is meant, and that small corpora keep workers idle."""
    logger = logging.getLogger("gensim.models.word2vec")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Reporter(CallbackAny2Vec):
    def __init__(self, epochs: int):
        self.done, self.epochs = 0, epochs

    def on_epoch_end(self, model: Doc2Vec) -> None:
        self.done += 1
        progress.report(self.done, self.epochs)


def fit_paragraph_vectors(tokens: list[list[str]], settings: ParagraphVectorSettings, seed: int) -> Doc2Vec:
    """Train on documents in the given order; document i is tagged i.

    Raises ValueError if no word occurs `min_count` times.
    """
    model = settings.model(seed)
    documents = [TaggedDocument(words, [row]) for row, words in enumerate(tokens)]
    model.build_vocab(documents)
    if len(model.wv) == 0:
        raise ValueError(f"min_count: no word occurs {settings.min_count} times in the documents; lower min_count")
    reporter = _Reporter(settings.epochs)
    with _quietly():
        model.train(documents, total_examples=len(documents), epochs=settings.epochs, callbacks=[reporter])
    return model


def infer(model: Doc2Vec, tokens: list[str], seed: int) -> np.ndarray:
    """Vector float32 [D] of a document by the model's own epochs and learning rates, words and outputs held fixed.

    As gensim's `infer_vector`, but a function of `seed` and `tokens` alone: neither earlier calls nor the process matter.
    """
    rng = np.random.RandomState(np.random.SeedSequence([seed, zlib.crc32(" ".join(tokens).encode())]).generate_state(4))
    size = model.dv.vector_size
    vector = ((rng.random_sample((1, size)) - 0.5) / size).astype(np.float32)
    model.random, ones = rng, np.ones(1, dtype=np.float32)  # what gensim's kernels draw negatives and windows from
    work, sums = np.zeros(model.layer1_size, dtype=np.float32), np.zeros(model.layer1_size, dtype=np.float32)
    fixed = {"learn_words": False, "learn_hidden": False, "doctag_vectors": vector, "doctags_lockf": ones}
    for alpha in np.linspace(model.alpha, model.min_alpha, model.epochs):  # pyright: ignore[reportArgumentType, reportCallIssue]
        if model.sg:
            train_document_dbow(model, tokens, [0], alpha, work, **fixed)
        else:
            train_document_dm(model, tokens, [0], alpha, work, sums, **fixed)
    return vector[0]


def vocabulary_table(model: Doc2Vec) -> pd.DataFrame:
    """Table (word, token, count); row i is row i of the word vectors."""
    tokens = model.wv.index_to_key
    counts = np.array([model.wv.get_vecattr(token, "count") for token in tokens], dtype=np.int64)
    return pd.DataFrame(
        {"word": np.arange(len(tokens), dtype=np.int64), "token": pd.Series(tokens, dtype="str"), "count": counts}
    )


def network_of_paragraph_vectors(model: Doc2Vec, settings: ParagraphVectorSettings, documents: int) -> Network:
    """All that inference needs beside the vocabulary; the vectors of the training documents are not part of it."""
    state = {"word_vectors": model.wv.vectors}
    if model.negative:
        state["output_negative"] = model.syn1neg
    if model.hs:
        state["output_hierarchical"] = model.syn1
    config = {"architecture": "paragraph_vectors", "documents": documents, **asdict(settings)}
    return Network(config, {name: np.array(value) for name, value in state.items()})


def rebuild_paragraph_vectors(network: Network, vocabulary: pd.DataFrame) -> Doc2Vec:
    """The model for `infer`, from what the representation stored."""
    config = {k: v for k, v in network.config.items() if k not in ("architecture", "documents")}
    model = ParagraphVectorSettings(**config).model(seed=0)
    counts = dict(zip(vocabulary["token"].tolist(), (int(c) for c in vocabulary["count"]), strict=True))
    model.build_vocab_from_freq(counts, corpus_count=network.config["documents"])
    model.wv.vectors = np.array(network.state["word_vectors"])
    if model.negative:
        model.syn1neg = np.array(network.state["output_negative"])
    if model.hs:
        model.syn1 = np.array(network.state["output_hierarchical"])
    return model
