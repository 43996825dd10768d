"""Classification and retrieval of documents on topics that the user named.

Shape legend: N samples, U units, C topics, K clusters.
"""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import f1_score, roc_auc_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.figures import png
from tasks.metrics.ranking import average_precision_at, true_positive_rates
from tasks.text.figures import candidate_figure, document_map, roc_figure
from tasks.text.label_vectors import Selection, candidates, label_vector
from tasks.vectors import cosine

RANKS = 10
NONE = -1
FALSE_POSITIVE_RATES = np.linspace(0, 1, 51)

_OF = {
    "f1_micro": "micro F1 over topics (0..1, higher is better); with one topic per document it is the accuracy",
    "f1_macro": "mean F1 of the topics (0..1, higher is better)",
    "auc": "mean area under the ROC curve of retrieving a topic against the others (0..1, higher is better)",
    "average_precision_at_10": "mean over topics of the average precision of the first 10 documents (0..1, higher is better)",
}
METRICS = {
    **{name: f"{text}; training documents, whose labels no stage saw" for name, text in _OF.items()},
    **{f"held_out_{name}": f"{text}; documents that no stage saw" for name, text in _OF.items()},
    "candidate_precision": "share of the kept candidate documents that are about their topic (0..1, higher is better)",
    "candidate_overlap": "share of the candidate documents that are candidates of several topics (0..1)",
    "pseudo_label_accuracy": "share of the pseudo-labels of training documents that are right (0..1, higher is better)",
    "pseudo_label_share": "share of the training documents that have a pseudo-label (0..1)",
    "dropped_documents": "documents without a word of the vocabulary; they count as wrong (number)",
}


def document_metrics(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    figures: bool = True,
) -> Metrics:
    """F1 and retrieval as in Lbl2Vec (Schopf et al., WEBIST 2021, arXiv 2210.06023): classification by the largest
    `similarity` of the model, retrieval of a topic by ranking documents by their similarity to it.

    Split train is the pile that the model learned from, without labels; split test is new to it (`held_out_...`). Topics
    are matched with classes by name. Clusters without names (k-means) are matched with classes so that as many training
    documents as possible are right: a favour that named topics do not need. A document without similarity
    counts as wrong and ranks last. Metrics that need labels, or two topics, are left out where there are none.

    Curves: `f1_micro_by_candidate_documents` (label vectors made anew from that many candidates each), for each topic
    `<topic>/true_positive_rate_by_false_positive_rate` and `average_precision_at_10_by_topic`, all on training documents.
    Figures: `documents`, `candidates`, `roc`.
    """
    units = representation.tables["units"]
    sample_U = units["sample"].to_numpy()
    label_N = _labels(dataset)
    train = dataset.rows("train")
    names = list(dataset.meta.get("class_names", []))
    topics, score_UC = _matched(model, label_N, names, sample_U, train)
    class_C = np.array([names.index(t) if t in names else NONE for t in topics])
    score_NC = np.full((len(label_N), len(topics)), score_UC.min() - 1.0)
    score_NC[sample_U] = score_UC
    dropped = np.setdiff1d(np.arange(len(label_N)), sample_U)
    predicted_N = class_C[score_NC.argmax(axis=1)]
    predicted_N[dropped] = NONE

    values = {"dropped_documents": float(len(dropped))}
    held_out = np.flatnonzero((dataset.samples["split"] == "test").to_numpy())
    for prefix, rows in (("", train), ("held_out_", held_out)):
        known = rows[label_N[rows] != NONE]
        scores = _scores(label_N[known], predicted_N[known], score_NC[known], class_C)
        values |= {f"{prefix}{name}": value for name, value in scores.items()}
    values |= _candidate_scores(clusters, label_N[sample_U], class_C)
    values |= _pseudo_label_scores(pseudo_labels, label_N, train, class_C)

    known = train[label_N[train] != NONE]
    roc = _roc(label_N[known], score_NC[known], class_C, topics)
    tables = [curve_table(f"{t}/true_positive_rate_by_false_positive_rate", x, y) for t, (x, y, _) in roc.items()]
    precise = [average_precision_at(label_N[known] == c, score_NC[known, i], RANKS) for i, c in enumerate(class_C)]
    tables.append(curve_table("average_precision_at_10_by_topic", range(len(topics)), precise))
    by_count = _f1_by_candidates(representation, clusters, label_N[sample_U], np.isin(sample_U, known), class_C)
    tables.append(by_count)
    drawn = {}
    if figures:
        if "queries" in clusters.arrays and "word_vectors" in representation.arrays:
            drawn["documents"] = png(document_map(representation, clusters, score_UC.argmax(axis=1), topics))
        if len(by_count):
            drawn["candidates"] = png(candidate_figure(by_count, len(clusters.tables["candidates"]) / len(topics)))
        if roc:
            drawn["roc"] = png(roc_figure(roc))
    return Metrics(
        {"curves": pd.concat(tables, ignore_index=True)}, meta={"values": values, "topics": topics}, figures=drawn
    )


def _labels(dataset: Dataset) -> np.ndarray:
    """True class of every sample, int64 [N], `NONE` where it is unknown."""
    if "label" not in dataset.samples:
        return np.full(len(dataset.samples), NONE, dtype=np.int64)
    return dataset.samples["label"].fillna(NONE).to_numpy(dtype=np.int64)


def _matched(
    model: Model, label_N: np.ndarray, names: list[str], sample_U: np.ndarray, train: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Names of the topics, and similarity float64 [U, C]; clusters without names are matched on training truth."""
    similarity_UK = np.array(model.arrays["similarity"], dtype=np.float64)
    topics = model.meta.get("topics")
    if topics is not None:
        return list(topics), similarity_UK
    if not names:
        raise ValueError("dataset: clusters without names need labels to be matched with; name topics by keywords")
    nearest_U, truth_U = similarity_UK.argmax(axis=1), label_N[sample_U]
    count_KC = np.zeros((similarity_UK.shape[1], len(names)))
    fits = np.isin(sample_U, train) & (truth_U != NONE)
    np.add.at(count_KC, (nearest_U[fits], truth_U[fits]), 1)
    owner_K = count_KC.argmax(axis=1)
    matched, owners = linear_sum_assignment(-count_KC)
    owner_K[matched] = owners
    score_UC = np.full((len(sample_U), len(names)), similarity_UK.min())
    for cluster, owner in enumerate(owner_K):
        score_UC[:, owner] = np.maximum(score_UC[:, owner], similarity_UK[:, cluster])
    return names, score_UC


def _scores(label: np.ndarray, predicted: np.ndarray, score: np.ndarray, class_C: np.ndarray) -> dict[str, float]:
    """The metrics of `_OF` for some documents, as far as they can be said."""
    if len(label) == 0:
        return {}
    scores = {}
    if len(class_C) > 1:
        for average in ("micro", "macro"):
            f1 = f1_score(label, predicted, labels=class_C, average=average, zero_division=0)  # pyright: ignore[reportArgumentType]
            scores[f"f1_{average}"] = float(f1)
    mixed = [i for i, c in enumerate(class_C) if 0 < (label == c).sum() < len(label)]
    if mixed:
        areas = [roc_auc_score(label == class_C[i], score[:, i]) for i in mixed]
        precise = [average_precision_at(label == class_C[i], score[:, i], RANKS) for i in mixed]
        scores |= {"auc": float(np.mean(areas)), "average_precision_at_10": float(np.mean(precise))}
    return scores


def _candidate_scores(clusters: Clusters, label_U: np.ndarray, class_C: np.ndarray) -> dict[str, float]:
    table = clusters.tables.get("candidates")
    if table is None or len(table) == 0:
        return {}
    scores = {"candidate_overlap": float((table["unit"].value_counts() > 1).mean())}
    kept = table[table["kept"].astype(bool)]
    truth, topic = label_U[kept["unit"].to_numpy()], class_C[kept["topic"].to_numpy()]  # pyright: ignore[reportAttributeAccessIssue]
    if (truth != NONE).any():
        scores["candidate_precision"] = float((truth == topic)[truth != NONE].mean())
    return scores


def _pseudo_label_scores(
    pseudo_labels: PseudoLabels, label_N: np.ndarray, train: np.ndarray, class_C: np.ndarray
) -> dict[str, float]:
    # Without names the pseudo-labels are clusters, not topics.
    if pseudo_labels.is_none or pseudo_labels.meta.get("topics") is None:
        return {}
    units = pseudo_labels.tables["units"]
    units = units[np.isin(units["sample"].to_numpy(), train)]
    given = units["pseudo_label"].to_numpy() >= 0  # pyright: ignore[reportAttributeAccessIssue]
    scores = {"pseudo_label_share": float(given.sum() / len(train))}
    truth = label_N[units["sample"].to_numpy()[given]]  # pyright: ignore[reportAttributeAccessIssue]
    if (truth != NONE).any():
        right = truth == class_C[units["pseudo_label"].to_numpy()[given]]  # pyright: ignore[reportAttributeAccessIssue]
        scores["pseudo_label_accuracy"] = float(right[truth != NONE].mean())
    return scores


def _roc(
    label: np.ndarray, score: np.ndarray, class_C: np.ndarray, topics: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    curves = {}
    for i, (c, topic) in enumerate(zip(class_C, topics, strict=True)):
        relevant = label == c
        if 0 < relevant.sum() < len(label):
            rates = true_positive_rates(relevant, score[:, i], FALSE_POSITIVE_RATES)
            curves[topic] = (FALSE_POSITIVE_RATES, rates, float(roc_auc_score(relevant, score[:, i])))
    return curves


def _f1_by_candidates(
    representation: Representation, clusters: Clusters, label_U: np.ndarray, known_U: np.ndarray, class_C: np.ndarray
) -> pd.DataFrame:
    """Micro F1 on training documents when every topic's label vector is made from 1 .. half of them."""
    name = "f1_micro_by_candidate_documents"
    if "queries" not in clusters.arrays or len(class_C) < 2 or known_U.sum() < 2:
        return curve_table(name, [], [])
    embedding = np.array(representation.arrays["embedding"])[known_U]
    counts = np.unique(np.geomspace(1, max(1, len(embedding) // 2), 14).round().astype(int)).tolist()
    scores = []
    for count in counts:
        selection = Selection(count, 1, None, None, bool(clusters.meta["clean_outliers"]))
        found = [candidates(query, embedding, selection) for query in np.array(clusters.arrays["queries"])]
        similarity = cosine(embedding, np.stack([label_vector(embedding, one) for one in found]))
        predicted = class_C[similarity.argmax(axis=1)]
        scores.append(f1_score(label_U[known_U], predicted, labels=class_C, average="micro", zero_division=0))  # pyright: ignore[reportArgumentType]
    return curve_table(name, counts, scores)
