"""Pseudo-labels for the documents (or other units) that are clearly nearest to one topic."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.text.label_vectors import confidence
from tasks.vectors import cosine


def similarity_threshold(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    *,
    similarity: Annotated[float, Field(ge=-1, le=1)] | None = None,
    margin_quantile: Annotated[float, Field(ge=0, lt=1)] = 0.5,
) -> PseudoLabels:
    """The nearest centroid as pseudo-label where its cosine and its lead over the second are large enough.

    Lbl2Vec (Schopf et al., WEBIST 2021, arXiv 2210.06023) labels every document; which of these labels are worth
    training on it does not say. Chosen here: a lead above the quantile of leads in split train.

    Parameters
    ----------
    similarity: least cosine to the nearest centroid, exclusive; null: any.
    margin_quantile: share of the documents of train, those with the smallest lead, that get no pseudo-label. With one
        centroid its cosine stands for the lead.

    Returns table `units` (unit, sample, pseudo_label, -1 where there is none), `weight` float32 [units]: the largest
    entry of the softmax over cosines at temperature 1/20, the confidence of the authors' code.

    Raises ValueError: no unit of train is left.
    """
    units = representation.tables["units"]
    similarity_UC = cosine(representation.arrays["embedding"], clusters.arrays["centroids"])
    ordered_UC = np.sort(similarity_UC, axis=1)
    best = ordered_UC[:, -1]
    lead = best - ordered_UC[:, -2] if similarity_UC.shape[1] > 1 else best
    train = np.isin(units["sample"].to_numpy(), dataset.rows("train"))
    clear = lead > np.quantile(lead[train], margin_quantile) if margin_quantile > 0 else np.ones(len(lead), dtype=bool)
    if similarity is not None:
        clear &= best > similarity
    if not clear[train].any():
        raise ValueError(
            f"similarity: no document of train is clearly nearest to a topic (similarity {similarity}, margin_quantile "
            f"{margin_quantile}); lower one of the two"
        )
    label = np.where(clear, similarity_UC.argmax(axis=1), -1).astype(np.int64)
    return PseudoLabels(
        {"units": units[["unit", "sample"]].assign(pseudo_label=label)},
        {"weight": confidence(similarity_UC).astype(np.float32)},
        meta={"n_clusters": similarity_UC.shape[1], "topics": clusters.meta.get("topics")},
    )
