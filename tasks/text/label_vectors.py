"""From keywords to label vectors: the documents nearest to the keywords, without outliers, and their mean.

Schopf, Braun and Matthes, WEBIST 2021, arXiv 2210.06023.

Shape legend: N documents, D dimensions, C topics.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

from tasks.vectors import cosine, unit

LOF_NEIGHBORS = 20


@dataclass(frozen=True)
class Selection:
    """Which documents speak for a topic.

    `max_docs`: at most so many, a count (int) or a share of the documents (float); None: no bound. `min_docs`: at least
    so many. `threshold`: only those with a larger cosine; `threshold_offset`: the same, from the largest cosine down.
    """

    max_docs: int | float | None
    min_docs: int
    threshold: float | None
    threshold_offset: float | None
    clean_outliers: bool

    def most(self, documents: int) -> int:
        """Upper bound on the candidates of a topic among so many documents."""
        if self.max_docs is None:
            return documents
        wanted = max(1, round(self.max_docs * documents)) if isinstance(self.max_docs, float) else self.max_docs
        return min(wanted, documents)


@dataclass(frozen=True)
class Candidates:
    """Documents nearest to a topic's keywords, nearest first: rows int64, cosine float64, and whether each is kept."""

    rows: np.ndarray
    similarity: np.ndarray
    kept: np.ndarray


def known_keywords(topics: Mapping[str, list[str]], index: Mapping[str, int]) -> dict[str, list[str]]:
    """Lower-case keywords of each topic that the vocabulary knows, each once; warns of unknown and of shared ones.

    Raises ValueError naming topic and keywords: no topic, or a topic of which no keyword is known.
    """
    if not topics:
        raise ValueError("keywords: there is no topic; name at least one with its keywords")
    lower = {name: list(dict.fromkeys(word.lower() for word in words)) for name, words in topics.items()}
    known = {name: [word for word in words if word in index] for name, words in lower.items()}
    for name, words in lower.items():
        if not known[name]:
            raise ValueError(
                f"keywords: topic '{name}': none of its keywords ({', '.join(words) or 'it has none'}) is in the "
                "vocabulary; add words that the documents use or lower min_count"
            )
        missing = [word for word in words if word not in index]
        if missing:
            warnings.warn(f"keywords: topic '{name}': not in the vocabulary: {', '.join(missing)}", stacklevel=2)
    owners: dict[str, list[str]] = {}
    for name, words in known.items():
        for word in words:
            owners.setdefault(word, []).append(name)
    shared = {word: names for word, names in owners.items() if len(names) > 1}
    if shared:
        told = "; ".join(f"'{word}' in {' and '.join(names)}" for word, names in shared.items())
        warnings.warn(f"keywords: shared by topics: {told}", stacklevel=2)
    return known


def keyword_query(word_vectors: np.ndarray, *, normalize: bool) -> np.ndarray:
    """Unit vector [D] along the mean of the keywords' vectors, of unit length first if `normalize`.

    Frequent words have longer vectors, and would outweigh the others in a plain mean.
    """
    vectors = unit(word_vectors) if normalize else np.array(word_vectors, dtype=np.float64)
    return unit(vectors.mean(axis=0))


def candidates(query_D: np.ndarray, documents_ND: np.ndarray, selection: Selection) -> Candidates:
    """The documents with the largest cosine to the query that `selection` admits; equal cosines: lower row first.

    "Larger than the threshold" is strict. `min_docs` fills up with the next documents and is clipped to their number.
    """
    similarity_N = cosine(documents_ND, query_D[None])[:, 0]
    order = np.argsort(-similarity_N, kind="stable")
    count = len(order)
    threshold = selection.threshold
    if threshold is None and selection.threshold_offset is not None:
        threshold = similarity_N[order[0]] - selection.threshold_offset
    if threshold is not None:
        count = int((similarity_N > threshold).sum())
    count = max(min(count, selection.most(len(order))), min(selection.min_docs, len(order)))
    rows = order[:count].astype(np.int64)
    kept = np.ones(count, dtype=bool)
    if selection.clean_outliers:
        kept = ~outliers(documents_ND[rows])
    return Candidates(rows, similarity_N[rows], kept)


def outliers(vectors: np.ndarray) -> np.ndarray:
    """Outliers by the local outlier factor (Breunig et al., SIGMOD 2000), bool; one vector is none."""
    if len(vectors) < 2:
        return np.zeros(len(vectors), dtype=bool)
    neighbors = min(LOF_NEIGHBORS, len(vectors) - 1)
    flagged = LocalOutlierFactor(n_neighbors=neighbors).fit_predict(np.array(vectors, dtype=np.float64)) == -1
    # An offset of 1.5 above the neighbours' density leaves somebody; but identical points can confuse it.
    return np.zeros(len(vectors), dtype=bool) if flagged.all() else flagged


def label_vector(documents_ND: np.ndarray, chosen: Candidates) -> np.ndarray:
    """Plain mean [D] of the kept documents' vectors, which are not scaled."""
    return np.array(documents_ND[chosen.rows[chosen.kept]], dtype=np.float64).mean(axis=0)


def confidence(similarity_NC: np.ndarray, temperature: float = 1 / 20) -> np.ndarray:
    """Largest entry of the softmax over topics, float64 [N]."""
    scaled = similarity_NC / temperature
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return shifted.max(axis=1) / shifted.sum(axis=1)
