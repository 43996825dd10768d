"""Word and document vectors in one space, learned from the documents themselves."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset, Representation
from tasks.text.documents import document_units, known_rows, tokens_of
from tasks.text.paragraph_vectors import (
    ParagraphVectorSettings,
    fit_paragraph_vectors,
    infer,
    network_of_paragraph_vectors,
    vocabulary_table,
)

Count = Annotated[int, Field(ge=1)]


def doc2vec(
    dataset: Dataset,
    *,
    algorithm: Literal["dbow", "dm"] = "dbow",
    train_words: bool = True,
    vector_size: Count = 300,
    window: Count = 15,
    epochs: Count = 10,
    min_count: Count = 50,
    sample: Annotated[float, Field(ge=0)] = 1e-5,
    negative: Annotated[int, Field(ge=0)] = 5,
    hierarchical_softmax: bool = True,
    seed: int,
) -> Representation:
    """Paragraph vectors (Le & Mikolov, ICML 2014, arXiv 1405.4053, sections 2.2 and 2.3) by gensim, as in Lbl2Vec
    (Schopf et al., WEBIST 2021, arXiv 2210.06023): PV-DBOW interleaved with skip-gram word training, which shares its
    output layer, so that words and documents can be compared. Fitted on split train in random order; documents of
    other splits are inferred with words and outputs held fixed.

    Parameters
    ----------
    algorithm: `dbow`, or `dm` for the distributed memory model.
    train_words: with `dbow`, train word vectors too; without it they stay at their random start.
    vector_size: dimensions. window: most words between word and predicted word. epochs: passes, in inference too.
    min_count: rarer words are ignored. sample: share of the text above which a frequent word is thinned out
        (0: never); 1e-5, meant for millions of tokens, leaves next to nothing of a small corpus.
    negative: negative samples per word (0: none). hierarchical_softmax: its loss is added to that of the negatives.

    Units are the documents that hold a word of the vocabulary; `meta.dropped_documents` counts the others. Returns
    `embedding` float32 [units, vector_size], `word_vectors` float32 [words, vector_size], table `vocabulary`
    (word, token, count), network `paragraph_vectors` for further inference.

    Raises ValueError: no text; no word that occurs `min_count` times; neither negatives nor hierarchical softmax.
    """
    if negative == 0 and not hierarchical_softmax:
        raise ValueError("negative: 0 without hierarchical_softmax leaves no loss; set one of the two")
    settings = ParagraphVectorSettings(
        algorithm, train_words, vector_size, window, epochs, min_count, sample, negative, hierarchical_softmax
    )
    tokens, train = tokens_of(dataset)
    order_stream, model_stream, infer_stream = np.random.SeedSequence(seed).spawn(3)
    # The order of the samples may follow the classes, and learning rates fall along it.
    order = np.random.default_rng(order_stream).permutation(np.flatnonzero(train))
    model = fit_paragraph_vectors([tokens[row] for row in order], settings, int(model_stream.generate_state(1)[0]))
    rows = known_rows(tokens, model.wv.key_to_index)
    trained = {int(row): place for place, row in enumerate(order)}
    infer_seed = int(infer_stream.generate_state(1)[0])
    embedding = [
        model.dv.vectors[trained[row]] if row in trained else infer(model, tokens[row], infer_seed)
        for row in rows.tolist()
    ]
    return Representation(
        {"units": document_units(rows), "vocabulary": vocabulary_table(model)},
        {"embedding": np.stack(embedding), "word_vectors": np.array(model.wv.vectors)},
        {"paragraph_vectors": network_of_paragraph_vectors(model, settings, len(order))},
        {"dropped_documents": len(tokens) - len(rows), "infer_seed": infer_seed},
    )
