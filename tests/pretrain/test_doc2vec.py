"""Paragraph vectors: words and documents in one space, to the bit the same wherever they are made."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, Representation
from tasks.pretrain.doc2vec import doc2vec
from tasks.text.paragraph_vectors import (
    ParagraphVectorSettings,
    fit_paragraph_vectors,
    infer,
    rebuild_paragraph_vectors,
)
from tasks.text.tokens import tokenize
from tasks.vectors import cosine

WORDS = [[f"{letter}{c}word" for c in "abcdefghijklmno"] for letter in "xyz"]
SMALL: dict[str, Any] = {"vector_size": 16, "window": 5, "epochs": 20, "min_count": 2, "sample": 0.0}
REPOSITORY = Path(__file__).resolve().parents[2]


def corpus(per_topic: int = 40, held_out: int = 8, shuffle: bool = False) -> tuple[Dataset, np.ndarray]:
    """Documents of 15 words, nine in ten of their topic's own; the topic of each."""
    rng = np.random.default_rng(0)
    texts, topics, splits = [], [], []
    for topic, own in enumerate(WORDS):
        for row in range(per_topic):
            pools = [own if rng.random() < 0.9 else WORDS[rng.integers(3)] for _ in range(15)]
            texts.append(" ".join(pool[rng.integers(len(pool))] for pool in pools))
            topics.append(topic)
            splits.append("test" if row < held_out else "train")
    order = rng.permutation(len(texts)) if shuffle else np.arange(len(texts))
    sample = np.arange(len(texts), dtype=np.int64)
    samples = pd.DataFrame({"sample": sample, "split": pd.Series([splits[i] for i in order], dtype="str")})
    documents = pd.DataFrame({"sample": sample, "text": pd.Series([texts[i] for i in order], dtype="str")})
    return Dataset({"samples": samples, "documents": documents}), np.array(topics)[order]


def right(representation: Representation, topics: np.ndarray, rows: np.ndarray) -> float:
    """Share of documents whose nearest topic is right, topics being the mean vector of three of their words."""
    index = {token: row for row, token in enumerate(representation.tables["vocabulary"]["token"])}
    words = representation.arrays["word_vectors"]
    queries = np.stack([words[[index[w] for w in own[:3]]].mean(axis=0) for own in WORDS])
    return float((cosine(representation.arrays["embedding"], queries).argmax(axis=1) == topics)[rows].mean())


def test_words_and_documents_share_a_space(tmp_path: Path) -> None:
    dataset, topics = corpus()
    made = doc2vec(dataset, **SMALL, seed=0)
    made.save(tmp_path / "r")
    loaded = Representation.load(tmp_path / "r")
    assert loaded.arrays["embedding"].shape == (120, 16)
    assert loaded.arrays["embedding"].dtype == loaded.arrays["word_vectors"].dtype == np.float32
    assert len(loaded.arrays["word_vectors"]) == len(loaded.tables["vocabulary"]) == 45
    assert right(loaded, topics, dataset.rows("train")) > 0.9
    assert right(loaded, topics, dataset.rows("test")) > 0.9


def test_without_word_training_keywords_are_noise() -> None:
    dataset, topics = corpus()
    made = doc2vec(dataset, **SMALL, train_words=False, seed=0)
    assert right(made, topics, dataset.rows("train")) < 0.7
    # They stay where gensim put them: in a cube of side 2 / d around the origin.
    assert np.abs(made.arrays["word_vectors"]).max() <= 1 / 16 + 1e-7
    assert np.abs(doc2vec(dataset, **SMALL, seed=0).arrays["word_vectors"]).max() > 0.2


def test_distributed_memory_is_another_model() -> None:
    dataset, _ = corpus()
    made = doc2vec(dataset, **SMALL, algorithm="dm", seed=0)
    made.check()
    assert not np.allclose(made.arrays["embedding"], doc2vec(dataset, **SMALL, seed=0).arrays["embedding"])


@pytest.mark.parametrize("algorithm", ["dbow", "dm"])
def test_same_seed_same_bits_other_seed_others(algorithm: Any) -> None:
    dataset, _ = corpus(12, 2)
    one, two, other = (doc2vec(dataset, **SMALL, algorithm=algorithm, seed=s) for s in (3, 3, 4))
    for name in ("embedding", "word_vectors"):
        assert one.arrays[name].tobytes() == two.arrays[name].tobytes()
        assert one.arrays[name].tobytes() != other.arrays[name].tobytes()


SCRIPT = """
import sys; sys.path.insert(0, {folder!r})
import importlib.util
spec = importlib.util.spec_from_file_location("corpus_of_test", {test!r})
module = importlib.util.module_from_spec(spec); sys.modules["corpus_of_test"] = module; spec.loader.exec_module(module)
print(module.digest())
"""


def digest() -> str:
    dataset, _ = corpus(12, 4)
    made = doc2vec(dataset, **SMALL, seed=0)
    return hashlib.sha256(made.arrays["embedding"].tobytes() + made.arrays["word_vectors"].tobytes()).hexdigest()


def test_the_hash_seed_of_the_process_does_not_matter() -> None:
    script = SCRIPT.format(folder=str(REPOSITORY), test=__file__)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    digests = [process.communicate()[0].strip() for process in started]
    assert digests == [digest()] * 2


def test_the_order_of_inference_does_not_matter() -> None:
    dataset, _ = corpus(12, 0)
    texts = [tokenize(text) for text in dataset.tables["documents"]["text"]]
    model = fit_paragraph_vectors(texts, ParagraphVectorSettings("dbow", True, 16, 5, 10, 1, 0.0, 5, True), seed=1)
    first = [infer(model, tokens, 7) for tokens in texts[:4]]
    again = [infer(model, tokens, 7) for tokens in reversed(texts[:4])][::-1]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], infer(model, texts[0], 8))


@pytest.mark.parametrize("options", [{}, {"algorithm": "dm"}, {"negative": 0}, {"hierarchical_softmax": False}])
def test_the_stored_network_infers_what_the_model_did(options: dict[str, Any], tmp_path: Path) -> None:
    dataset, _ = corpus(12, 4)
    doc2vec(dataset, **SMALL, **options, seed=0).save(tmp_path / "r")
    stored = Representation.load(tmp_path / "r")
    model = rebuild_paragraph_vectors(stored.networks["paragraph_vectors"], stored.tables["vocabulary"])
    for row in dataset.rows("test"):
        tokens = tokenize(dataset.tables["documents"]["text"].iloc[row])
        np.testing.assert_array_equal(infer(model, tokens, stored.meta["infer_seed"]), stored.arrays["embedding"][row])


def test_inference_agrees_with_gensim(monkeypatch: pytest.MonkeyPatch) -> None:
    """From gensim's own start, with its own stream, our loop gives its vector."""
    dataset, _ = corpus(12, 0)
    texts = [tokenize(text) for text in dataset.tables["documents"]["text"]]
    model = fit_paragraph_vectors(texts, ParagraphVectorSettings("dbow", True, 16, 5, 10, 1, 0.0, 5, True), seed=1)

    class Start(np.random.RandomState):
        def random_sample(self, size: Any = None) -> Any:
            return np.full(size, 0.6)

    monkeypatch.setattr(np.random, "RandomState", Start)
    ours = infer(model, texts[0], 3)
    from gensim.models import doc2vec as gensim_doc2vec

    start: Callable[..., np.ndarray] = lambda size, seed_string: np.full(size, 0.1 / size, dtype=np.float32)  # noqa: E731
    monkeypatch.setattr(gensim_doc2vec, "pseudorandom_weak_vector", start)
    import zlib

    seeds = np.random.SeedSequence([3, zlib.crc32(" ".join(texts[0]).encode())]).generate_state(4)
    model.random = Start(seeds)
    np.testing.assert_allclose(model.infer_vector(texts[0]), ours, rtol=1e-5, atol=1e-7)


def test_learning_does_not_follow_the_order_of_classes() -> None:
    """The documents lie class by class, and are trained on in another order."""
    dataset, _ = corpus(12, 0)
    seen: list[list[str]] = []
    from tasks.pretrain import doc2vec as module

    original = module.fit_paragraph_vectors
    try:
        module.fit_paragraph_vectors = lambda tokens, *rest: (seen.extend(tokens), original(tokens, *rest))[1]
        doc2vec(dataset, **SMALL, seed=0)
    finally:
        module.fit_paragraph_vectors = original
    given = [tokenize(text) for text in dataset.tables["documents"]["text"]]
    assert seen != given
    assert sorted(seen) == sorted(given)


def test_a_document_keeps_its_vector_when_the_learned_ones_are_sorted_back() -> None:
    dataset, topics = corpus()
    vectors = doc2vec(dataset, **SMALL, seed=0).arrays["embedding"].astype(float)
    centres = np.stack([vectors[topics == c].mean(axis=0) for c in range(3)])
    assert (cosine(vectors, centres).argmax(axis=1) == topics).mean() > 0.95


def test_documents_of_unknown_words_are_dropped_with_count() -> None:
    dataset, _ = corpus(12, 4)
    text = dataset.tables["documents"]["text"].copy()
    text.iloc[0], text.iloc[5] = "never seen before", "alone unheard"  # one held out, one of train
    dataset.tables["documents"]["text"] = text
    made = doc2vec(dataset, **SMALL, seed=0)
    assert made.meta["dropped_documents"] == 2
    assert made.tables["units"]["sample"].tolist() == [i for i in range(36) if i not in (0, 5)]
    assert made.tables["units"]["unit"].tolist() == list(range(34))


def test_training_reports_its_epochs() -> None:
    from tasks import progress

    heard: list[tuple[int, int]] = []
    progress.listen(lambda step, total, values: heard.append((step, total)))
    try:
        doc2vec(corpus(6, 1)[0], **{**SMALL, "epochs": 3}, seed=0)
    finally:
        progress.listen(None)
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_gensim_has_nothing_to_complain_about(caplog: pytest.LogCaptureFixture) -> None:
    doc2vec(corpus(6, 1)[0], **SMALL, seed=0)
    assert not caplog.records


def test_bad_input() -> None:
    dataset, _ = corpus(6, 1)
    with pytest.raises(ValueError, match=r"^min_count: no word occurs 999 times"):
        doc2vec(dataset, **{**SMALL, "min_count": 999}, seed=0)
    with pytest.raises(ValueError, match=r"^negative: 0 without hierarchical_softmax leaves no loss"):
        doc2vec(dataset, **SMALL, negative=0, hierarchical_softmax=False, seed=0)
    with pytest.raises(ValueError, match="table 'documents' is needed and absent"):
        doc2vec(Dataset({"samples": dataset.samples}), **SMALL, seed=0)
    empty = dataset.tables["documents"].assign(text=pd.Series(["1 2 3"] * len(dataset.samples), dtype="str"))
    with pytest.raises(ValueError, match="no document of split train holds a word"):
        doc2vec(Dataset({"samples": dataset.samples, "documents": empty}), **SMALL, seed=0)
