"""Topics that the user names: a cluster around the documents nearest to the topic's keywords."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.readers.text import Keywords
from tasks.text.label_vectors import (
    Candidates,
    Selection,
    candidates,
    keyword_query,
    known_keywords,
    label_vector,
)
from tasks.vectors import cosine

Cosine = Annotated[float, Field(ge=-1, le=1)]
Docs = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]


def keyword_label_vectors(
    dataset: Dataset,
    representation: Representation,
    *,
    keywords: Keywords | None = None,
    max_docs: Docs | None = 0.05,
    min_docs: Annotated[int, Field(ge=1)] = 10,
    threshold: Cosine | None = None,
    threshold_offset: Annotated[float, Field(ge=0, le=2)] | None = None,
    clean_outliers: bool = True,
    normalize_keywords: bool = True,
) -> Clusters:
    """Label vectors of Lbl2Vec (Schopf et al., WEBIST 2021, arXiv 2210.06023): for each topic, the mean of the
    document vectors that lie closest to its keywords, after outliers among them are removed.

    The query of a topic is the unit vector along the mean of its keywords' unit vectors. Candidates are documents of
    split train by falling cosine to the query; a document may be a candidate of several topics. Outliers are found by
    the local outlier factor with min(20, m - 1) neighbours among m candidates.

    Parameters
    ----------
    keywords: topic -> words; default: what the data set names. Other words cost no new training. The topics are those
        of the data set where it has any.
    max_docs: most candidates per topic, a count or a share of the documents of train; null: no bound; 0: none is
        taken, the label vector is the query itself.
    min_docs: candidates that are taken in any case; clipped to the documents there are.
    threshold: candidates must have a larger cosine than this; or threshold_offset: than the largest cosine less this.
    clean_outliers: remove outliers among the candidates.
    normalize_keywords: words count alike; false: by the length of their vectors.

    Returns table `units` (unit, sample, cluster = nearest topic, or -1 if there is but one), table `candidates` (topic,
    unit, similarity, kept), `centroids` float32 [topics, d], `queries` float32 [topics, d], `similarity` float32 [units,
    topics]; meta `topics`, `n_clusters`, `unknown_keywords`, `overlap` (documents that are candidates of several topics).

    Raises ValueError: no words beside the documents; no topic, or none of a topic's keywords known; fewer documents than
    topics; a count `max_docs` below `min_docs`; both thresholds, or no bound at all.
    """
    selection = Selection(max_docs, min_docs, threshold, threshold_offset, clean_outliers)
    _check(selection)
    if "word_vectors" not in representation.arrays or "vocabulary" not in representation.tables:
        raise ValueError("representation: it has no word vectors; use one that embeds words and documents alike")
    topics = _topics(dataset, keywords)
    vocabulary = representation.tables["vocabulary"]["token"].tolist()
    index = {token: row for row, token in enumerate(vocabulary)}
    known = known_keywords(topics, index)
    words_WD = representation.arrays["word_vectors"]
    queries_CD = np.stack(
        [keyword_query(words_WD[[index[w] for w in words]], normalize=normalize_keywords) for words in known.values()]
    )
    units = representation.tables["units"]
    embedding_UD = np.array(representation.arrays["embedding"])
    train = np.flatnonzero(np.isin(units["sample"].to_numpy(), dataset.rows("train")))
    if len(train) < len(topics):
        raise ValueError(
            f"keywords: {len(topics)} topics ({', '.join(topics)}) but {len(train)} documents; name fewer topics"
        )
    found: list[Candidates] = []
    centroids_CD = queries_CD
    if max_docs != 0:
        found = [candidates(query, embedding_UD[train], selection) for query in queries_CD]
        centroids_CD = np.stack([label_vector(embedding_UD[train], one) for one in found])
    similarity_UC = cosine(embedding_UD, centroids_CD)
    nearest = similarity_UC.argmax(axis=1) if len(topics) > 1 else np.full(len(units), -1)
    table = _table(found, train)
    return Clusters(
        {
            "units": pd.DataFrame(
                {"unit": units["unit"], "cluster": nearest.astype(np.int64), "sample": units["sample"]}
            ),
            "candidates": table,
        },
        {
            "centroids": centroids_CD.astype(np.float32),
            "queries": queries_CD.astype(np.float32),
            "similarity": similarity_UC.astype(np.float32),
        },
        meta={
            "topics": list(topics),
            "keywords": list(known.values()),
            "n_clusters": len(topics),
            "unknown_keywords": [[w for w in topics[n] if w.lower() not in index] for n in topics],
            "overlap": int((table["unit"].value_counts() > 1).sum()),
            "clean_outliers": clean_outliers,
        },
    )


def _check(selection: Selection) -> None:
    if isinstance(selection.max_docs, int) and 0 < selection.max_docs < selection.min_docs:
        raise ValueError(f"max_docs: {selection.max_docs} is below min_docs, {selection.min_docs}; lower min_docs")
    if selection.threshold is not None and selection.threshold_offset is not None:
        raise ValueError("threshold: threshold_offset is given too; remove one of the two")
    if selection.max_docs is None and selection.threshold is None and selection.threshold_offset is None:
        raise ValueError(
            "max_docs: without it, threshold and threshold_offset every document would speak for every topic; set one"
        )


def _topics(dataset: Dataset, keywords: Keywords | None) -> dict[str, list[str]]:
    """Topics in the order of the data set's classes, so that topic c is class c."""
    names = dataset.meta.get("class_names")
    if keywords is None:
        given = dataset.meta.get("keywords")
        if given is None:
            raise ValueError("keywords: the data set names none; give keywords for every topic here or there")
        return dict(zip(names or [], given, strict=True))
    if names is None:
        return dict(sorted(keywords.items()))
    unknown = sorted(set(keywords) - set(names))
    if unknown:
        raise ValueError(f"keywords: '{unknown[0]}' is no topic of the data set ({', '.join(names)})")
    return {name: keywords[name] for name in names if name in keywords}


def _table(found: list[Candidates], units: np.ndarray) -> pd.DataFrame:
    """Table `candidates`; rows of `found` index `units`."""
    sizes = [len(one.rows) for one in found]
    rows = np.concatenate([one.rows for one in found]) if found else np.zeros(0, dtype=np.int64)
    return pd.DataFrame(
        {
            "topic": np.repeat(np.arange(len(found), dtype=np.int64), sizes),
            "unit": units[rows].astype(np.int64),
            "similarity": np.concatenate([one.similarity for one in found]) if found else np.zeros(0),
            "kept": np.concatenate([one.kept for one in found]) if found else np.zeros(0, dtype=bool),
        }
    )
