"""F1, retrieval and candidates by hand and against scikit-learn, clusters matched with classes, and the whole method."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.cluster.keyword_label_vectors import keyword_label_vectors
from tasks.cluster.kmeans import kmeans
from tasks.evaluate.document_metrics import METRICS, document_metrics
from tasks.pretrain.tfidf_lsa import tfidf_lsa
from tasks.pseudo_label.similarity_threshold import similarity_threshold
from tasks.self_train.nearest_centroid import nearest_centroid

TOPICS = ["a", "b", "c"]


def evaluate(
    similarity: Any,
    label: list[int | None],
    *,
    test: int = 0,
    sample: list[int] | None = None,
    topics: list[str] | None = TOPICS,
    names: list[str] | None = TOPICS,
    candidates: list[tuple[int, int, bool]] = [],  # noqa: B006
    pseudo: list[int] | None = None,
) -> Metrics:
    """`similarity` [units, topics or clusters]; `sample` of each unit; candidates (topic, unit, kept)."""
    n, similarity = len(label), np.array(similarity, dtype=np.float32)
    sample = list(range(n)) if sample is None else sample
    index = np.arange(len(sample), dtype=np.int64)
    split = pd.Series(["train"] * (n - test) + ["test"] * test, dtype="str")
    samples = pd.DataFrame({"sample": np.arange(n), "split": split, "label": pd.Series(label, dtype="Int64")})
    units = pd.DataFrame({"unit": index, "sample": sample})
    table = pd.DataFrame(
        {
            "topic": np.array([c[0] for c in candidates], dtype=np.int64),
            "unit": np.array([c[1] for c in candidates], dtype=np.int64),
            "similarity": np.zeros(len(candidates)),
            "kept": np.array([c[2] for c in candidates], dtype=bool),
        }
    )
    pseudo_labels = PseudoLabels(meta={"step": "none"})
    if pseudo is not None:
        pseudo_labels = PseudoLabels({"units": units.assign(pseudo_label=pseudo)}, meta={"topics": topics})
    made = document_metrics(
        Dataset({"samples": samples}, meta={} if names is None else {"class_names": names}),
        Representation({"units": units}, {"embedding": np.zeros((len(sample), 2), np.float32)}),
        Clusters({"units": units.assign(cluster=0), "candidates": table}),
        pseudo_labels,
        Model(arrays={"similarity": similarity}, meta={"topics": topics}),
        figures=False,
    )
    made.check()
    assert set(made.values) <= set(METRICS)
    return made


RNG = np.random.default_rng(0)
SCORES, LABELS = RNG.random((60, 3)), RNG.integers(3, size=60).tolist()


def test_f1_and_area_are_scikit_learns_for_train_and_held_out() -> None:
    values = evaluate(SCORES, LABELS, test=20).values
    label, predicted = np.array(LABELS), SCORES.argmax(axis=1)
    for prefix, rows in (("", np.arange(40)), ("held_out_", np.arange(40, 60))):
        truth = label[rows]
        assert values[f"{prefix}f1_micro"] == pytest.approx((truth == predicted[rows]).mean())
        assert values[f"{prefix}f1_macro"] == pytest.approx(f1_score(truth, predicted[rows], average="macro"))
        area = np.mean([roc_auc_score(truth == c, SCORES[rows, c]) for c in range(3)])
        assert values[f"{prefix}auc"] == pytest.approx(area, abs=1e-6)


def test_average_precision_of_the_first_ten_by_hand() -> None:
    """Topic a: hits at ranks 1 and 3 of 3 relevant documents; topic b: at 2, 4 and 5 of 3."""
    a = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    label: list[int | None] = [0, 1, 0, 1, 1, 0]
    values = evaluate(np.stack([a, a], axis=1), label, topics=["a", "b"], names=["a", "b"]).values
    expected = np.mean([(1 / 1 + 2 / 3 + 3 / 6) / 3, (1 / 2 + 2 / 4 + 3 / 5) / 3])
    assert values["average_precision_at_10"] == pytest.approx(expected)


def test_topics_are_matched_by_name() -> None:
    good = SCORES + np.eye(3)[LABELS]
    straight = evaluate(good, LABELS).values
    assert straight["f1_micro"] > 0.9
    assert evaluate(good[:, [2, 0, 1]], LABELS, topics=["c", "a", "b"]).values == pytest.approx(straight)
    assert evaluate(good, LABELS, topics=["c", "a", "b"]).values["f1_micro"] < 0.1


def test_a_dropped_document_counts_as_wrong_and_ranks_last() -> None:
    label: list[int | None] = [0, 0, 1, 1]
    values = evaluate([[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]], label, sample=[0, 2, 3], topics=TOPICS[:2]).values
    assert values["dropped_documents"] == 1
    assert values["f1_micro"] == pytest.approx(2 * 3 / (4 + 3))  # 3 of 4 right, 3 predictions
    assert values["auc"] == pytest.approx(np.mean([roc_auc_score([1, 1, 0, 0], [0.9, -1, 0.2, 0.1]), 1.0]))


def test_one_topic_has_retrieval_and_no_f1() -> None:
    values = evaluate([[0.9], [0.1], [0.8], [0.3]], [0, 1, 0, 1], topics=["a"], names=["a", "b"]).values
    assert values["auc"] == 1.0
    assert "f1_micro" not in values


def test_without_labels_nothing_is_claimed() -> None:
    values = evaluate(SCORES, [None] * 60, pseudo=[0] * 60).values
    assert values == {"dropped_documents": 0.0, "pseudo_label_share": 1.0}


def test_unlabelled_documents_are_left_out() -> None:
    label: list[int | None] = [None if i % 4 == 0 else v for i, v in enumerate(LABELS)]
    known = [i for i in range(60) if label[i] is not None]
    values = evaluate(SCORES, label).values
    assert values["f1_micro"] == pytest.approx((SCORES.argmax(axis=1) == LABELS)[known].mean())


def test_clusters_without_names_get_the_best_matching() -> None:
    """Brute force over all assignments of three clusters to three classes."""
    values = evaluate(SCORES, LABELS, topics=None).values
    label, nearest = np.array(LABELS), SCORES.argmax(axis=1)
    best = max((np.array(p)[nearest] == label).mean() for p in permutations(range(3)))
    assert values["f1_micro"] == pytest.approx(best)
    assert "pseudo_label_accuracy" not in values
    with pytest.raises(ValueError, match="clusters without names need labels"):
        evaluate(SCORES, [None] * 60, topics=None, names=None)


def test_surplus_clusters_go_to_their_majority() -> None:
    """Cluster 2 holds documents of class b only, as cluster 1 does."""
    nearest, label = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1]
    values = evaluate(np.eye(3)[nearest], label, topics=None, names=["a", "b"]).values
    assert values["f1_micro"] == 1.0


def test_matching_uses_train_alone() -> None:
    """On test the clusters lie the other way round: everything there is wrong."""
    nearest, label = [0, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0]
    values = evaluate(np.eye(2)[nearest], label, test=2, topics=None, names=["a", "b"]).values
    assert (values["f1_micro"], values["held_out_f1_micro"]) == (1.0, 0.0)


def test_candidates() -> None:
    label: list[int | None] = [0, 0, 1, 1]
    chosen = [(0, 0, True), (0, 1, True), (0, 2, False), (1, 2, True), (1, 1, True)]
    values = evaluate(np.eye(2)[[0, 0, 1, 1]], label, topics=TOPICS[:2], candidates=chosen).values
    assert values["candidate_precision"] == 3 / 4  # the removed one does not count
    assert values["candidate_overlap"] == 2 / 3  # documents 1 and 2 of 0, 1, 2


def test_pseudo_labels() -> None:
    label: list[int | None] = [0, 0, 1, 1, 0]
    values = evaluate(np.eye(2)[[0, 0, 1, 1, 0]], label, test=1, topics=TOPICS[:2], pseudo=[0, 1, 1, -1, 1]).values
    assert values["pseudo_label_share"] == 3 / 4
    assert values["pseudo_label_accuracy"] == pytest.approx(2 / 3)


def corpus() -> Dataset:
    """Three topics of 40 documents, each with a sixth of its words from the others."""
    rng = np.random.default_rng(0)
    pools = [[f"{letter}{c}word" for c in "abcdefghijkl"] for letter in "xyz"]
    label = np.repeat(np.arange(3), 40)
    texts = [
        " ".join(pools[t if rng.random() < 0.8 else rng.integers(3)][rng.integers(12)] for _ in range(12))
        for t in label
    ]
    order = rng.permutation(120)
    samples = pd.DataFrame(
        {
            "sample": np.arange(120),
            "split": pd.Series(np.where(np.arange(120) < 96, "train", "test"), dtype="str"),
            "label": pd.Series(label[order], dtype="Int64"),
        }
    )
    documents = pd.DataFrame({"sample": np.arange(120), "text": pd.Series([texts[i] for i in order], dtype="str")})
    keywords = [pool[:3] for pool in pools]
    return Dataset(
        {"samples": samples, "documents": documents}, meta={"class_names": TOPICS, "keywords": keywords, "truth": []}
    )


def test_the_whole_method() -> None:
    dataset = corpus()
    hidden = dataset.without_truth()
    representation = tfidf_lsa(hidden, dimensions=6, min_count=1)
    found = {
        "label_vectors": keyword_label_vectors(hidden, representation, max_docs=0.2),
        "kmeans": kmeans(hidden, representation, k=3, spherical=True, n_init=5, seed=0),
    }
    for name, clusters in found.items():
        pseudo_labels = similarity_threshold(hidden, representation, clusters)
        model = nearest_centroid(representation, clusters)
        metrics = document_metrics(dataset, representation, clusters, pseudo_labels, model)
        metrics.check()
        assert metrics.values["f1_micro"] > 0.9
        assert metrics.values["held_out_f1_micro"] > 0.9
        assert all(png.startswith(b"\x89PNG") for png in metrics.figures.values())
        curves = metrics.tables["curves"]
        by_count = curves[curves["curve"] == "f1_micro_by_candidate_documents"]
        if name == "label_vectors":
            assert set(metrics.values) == set(METRICS)
            assert set(metrics.figures) == {"documents", "candidates", "roc"}
            assert (by_count["x"].min(), by_count["x"].max()) == (1, 48)
            # With as many candidates as the method took, the curve gives the method's own F1.
            own = keyword_label_vectors(hidden, representation, max_docs=48, min_docs=1)
            again = document_metrics(
                dataset, representation, own, pseudo_labels, nearest_centroid(representation, own), figures=False
            )
            assert by_count["y"].iloc[-1] == pytest.approx(again.values["f1_micro"])
        else:
            assert set(metrics.figures) == {"roc"}
            assert len(by_count) == 0
