"""Rough yes/no labels of all vertices, for each seed vertex: is it in the target?"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.graphs.local_cluster import local_clusters
from tasks.graphs.node_classifier import diffusion_examples, few_shot_examples, fit_node_classifier
from tasks.graphs.queries import granted_labels
from tasks.progress import report

Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def diffusion_node_labels(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    *,
    source: Literal["diffusion", "few_shot", "given"] = "diffusion",
    positives: Count = 50,
    negatives: Count = 50,
    c: Annotated[float, Field(gt=0)] = 1.0,
    a1: Rate = 0.8,
    a0: Rate = 0.8,
    seed: int,
) -> PseudoLabels:
    """Noisy labels for LFD (de Luca, Fountoulakis & Yang, ICLR 2024, arXiv 2310.08031).

    Parameters
    ----------
    source: `diffusion`: logistic regression on the embedding from the vertices with the largest potential of the plain
        diffusion against random vertices outside its support; no label but the seed is used. `few_shot`: the same
        classifier from granted labels of the seed's class and of others. `given`: the data set's `noisy_labels`.
    positives, negatives: examples of either kind; `diffusion` takes fewer where there are fewer.
    c: inverse penalty of the logistic regression.
    a1, a0: for `given`, the accuracies of the noisy labels inside and outside of the target.

    Returns `labels` uint8 {0, 1} [Q, n] and `probability` float32 [Q, n], one row per seed vertex, whose own label is
    1; labels are probabilities of at least 0.5.

    Raises ValueError: clusters of another step; no embedding (`diffusion`, `few_shot`); fewer granted labels than asked
    for; a diffusion that reached the whole graph; no `noisy_labels` of these accuracies.
    """
    found, n = local_clusters(clusters.arrays, "diffusion_node_labels"), len(dataset.samples)
    if source == "given":
        levels, given, embedding = _noisy_level(dataset, a1, a0), granted_labels(dataset), np.zeros((0, 0))
    else:
        levels, given = None, granted_labels(dataset) if source == "few_shot" else None
        embedding = _embedding(representation, n, source)
    probability = np.empty((len(found), n), dtype=np.float32)
    for position, cluster in enumerate(found):
        rng = np.random.default_rng(np.random.SeedSequence([seed, 2, position]))
        if levels is not None:
            assert given is not None
            probability[position] = levels[given[cluster.seed_vertex]]
        else:
            if given is not None:
                target = int(given[cluster.seed_vertex])
                examples = few_shot_examples(given, target, positives, negatives, rng)
            else:
                examples = diffusion_examples(n, cluster.reached, positives, negatives, rng)
            probability[position] = fit_node_classifier(embedding, *examples, c)
        probability[position, cluster.seed_vertex] = 1.0
        report(position + 1, len(found))
    return PseudoLabels(
        arrays={"labels": (probability >= 0.5).astype(np.uint8), "probability": probability}, meta={"source": source}
    )


def _embedding(representation: Representation, n: int, source: str) -> np.ndarray:
    if "embedding" not in representation.arrays:
        raise ValueError(f"source: '{source}' needs attributes; use a pretrain step, or source: given")
    embedding = representation.arrays["embedding"]
    if len(embedding) != n:
        raise ValueError(f"representation: {len(embedding)} units for {n} vertices, not one each")
    return embedding


def _noisy_level(dataset: Dataset, a1: float, a0: float) -> np.ndarray:
    """Noisy labels uint8 [classes, n] of the wanted accuracy."""
    if "noisy_labels" not in dataset.arrays:
        raise ValueError(
            "source: 'given' needs noisy labels, which this data set does not grant; give it 'noisy_labels'"
        )
    accuracy = np.asarray(dataset.arrays["noisy_accuracy"])
    match = np.flatnonzero((accuracy == [a1, a0]).all(axis=1))
    if len(match) == 0:
        known = ", ".join(f"a1 {one:g} a0 {zero:g}" for one, zero in accuracy)
        raise ValueError(f"a1, a0: no noisy labels with a1 {a1:g} and a0 {a0:g} are granted (granted: {known})")
    return dataset.arrays["noisy_labels"][match[0]]
