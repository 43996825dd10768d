"""Pictures of documents, topics and how well they were found.

Shape legend: U documents, D dimensions, C topics.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from tasks.artifacts import Clusters, Representation
from tasks.figures import COLOURS, subplots
from tasks.vectors import unit

TOPIC_COLOURS = [COLOURS[i] for i in (0, 1, 2, 3, 4, 5)]


def colour(topic: int) -> str:
    """Colour of a topic; they repeat after six."""
    return TOPIC_COLOURS[topic % len(TOPIC_COLOURS)]


def document_map(
    representation: Representation, clusters: Clusters, prediction_U: np.ndarray, topics: list[str]
) -> Figure:
    """Directions of documents, label vectors and keywords, seen along the plane on which the label vectors differ most."""
    embedding_UD = unit(representation.arrays["embedding"])
    label_CD = unit(clusters.arrays["centroids"])
    plane = PCA(2, svd_solver="full").fit(label_CD if len(label_CD) > 2 else embedding_UD)
    figure, axis = subplots(figsize=(8.2, 6.4))
    xy_U2 = plane.transform(embedding_UD)
    axis.scatter(*xy_U2.T, s=7, c=[colour(t) for t in prediction_U], alpha=0.4, linewidths=0)
    outliers = clusters.tables["candidates"].loc[lambda table: ~table["kept"].astype(bool)]
    if len(outliers):
        marked_U2 = xy_U2[outliers["unit"].to_numpy()]
        axis.scatter(*marked_U2.T, s=34, marker="x", c="black", linewidths=1, label="candidate removed as outlier")
    index = {token: row for row, token in enumerate(representation.tables["vocabulary"]["token"])}
    words_WD = representation.arrays["word_vectors"]
    for topic, words in enumerate(clusters.meta["keywords"]):
        places_W2 = plane.transform(unit(words_WD[[index[word] for word in words]]))
        for word, place in zip(words, places_W2, strict=True):
            box = {"facecolor": "white", "alpha": 0.65, "edgecolor": "none", "pad": 0.6}
            axis.text(*place, word, fontsize=8, color=colour(topic), ha="center", va="center", bbox=box)
    for topic, place in enumerate(plane.transform(label_CD)):
        edge = {"edgecolors": "black", "linewidths": 0.8, "zorder": 3}
        axis.scatter(*place, s=170, marker="*", c=colour(topic), label=topics[topic], **edge)
    axis.set(xticks=[], yticks=[], xlabel="first axis of the label vectors", ylabel="second axis")
    axis.set_title("Documents by predicted topic (dots), keywords (words), label vectors (stars)")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def candidate_figure(curve: pd.DataFrame, chosen: float) -> Figure:
    """Micro F1 against the number of candidate documents, with the number that was chosen."""
    figure, axis = subplots(figsize=(5.2, 3.2))
    axis.plot(curve["x"], curve["y"], marker="o", markersize=4)
    if chosen > 0:
        axis.axvline(chosen, color="black", linestyle="--", linewidth=1, label=f"used here: {chosen:.0f}")
        axis.legend()
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="candidate documents per topic", ylabel="micro F1 (training documents)")
    axis.set_title("F1 by the number of documents that speak for a topic")
    return figure


def roc_figure(curves: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> Figure:
    """`curves[topic]` = false positive rates, true positive rates, area."""
    figure, axis = subplots(figsize=(4.6, 4.4))
    for index, (topic, (x, y, area)) in enumerate(curves.items()):
        axis.plot(x, y, color=colour(index), linestyle="-" if index < 6 else ":", label=f"{topic} ({area:.3f})")
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axis.set_title("Retrieval of each topic (area under the curve)")
    axis.legend(loc="lower right")
    return figure
