"""Equal blocks in a random graph with Gaussian attributes: targets for local clustering."""

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.stats import binom

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import graph_from_edges
from tasks.graphs.vertex_dataset import Count, NoisyLabels, Rate, vertex_dataset


def local_sbm(
    *,
    n: Annotated[int, Field(ge=2)] = 2000,
    cluster_size: Count = 100,
    p: Rate = 0.2,
    q: Rate = 0.012,
    attribute_dim: Count = 20,
    attribute_signal: Annotated[float, Field(ge=0)] = 2.5,
    labelled_per_class: Count = 30,
    noisy_labels: list[NoisyLabels] = [],  # noqa: B006 - read only, and shown as the default
    seed: int = 0,
) -> Dataset:
    """Stochastic block model (Holland, Laskey & Leinhardt, Social Networks 1983) with n / cluster_size equal blocks.

    Parameters
    ----------
    n: vertices. cluster_size: vertices of a block, a divisor of `n`; block b holds vertices b * cluster_size and on.
    p, q: probability of an edge inside a block, and between blocks.
    attribute_dim, attribute_signal: attributes are the block's mean, of this norm in a random direction, plus N(0, 1).
    labelled_per_class: vertices of each block whose `given_label` is granted; seed vertices are drawn from them.
    noisy_labels: accuracies {a1, a0} at which yes/no labels of every vertex for every block are granted.
    seed: seed of all draws.

    Returns the graph (`indptr`, `indices` int64), `attributes` float32 [n, attribute_dim], `target_size`, `target_volume`
    float64 [blocks] and, if asked for, `noisy_labels` uint8 [levels, blocks, n]; truth: `label`. Work grows with the
    number of edges, not with n squared.

    Raises ValueError: `cluster_size` does not divide `n`.
    """
    if n % cluster_size:
        raise ValueError(f"cluster_size: {cluster_size} does not divide n = {n}; choose a divisor")
    blocks = n // cluster_size
    edge_stream, attribute_stream, grant_stream = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(edge_stream)
    inside = cluster_size * (cluster_size - 1) // 2
    edges = []
    for b in range(blocks):
        pair = _drawn(inside, p, rng)
        # Pair number t(t-1)/2 + s stands for s < t.
        high = np.floor((1 + np.sqrt(1 + 8 * pair.astype(np.float64))) / 2).astype(np.int64)
        high -= high * (high - 1) // 2 > pair
        edges.append(np.stack([pair - high * (high - 1) // 2, high], axis=1) + b * cluster_size)
    for b in range(1, blocks):  # the block against all vertices before it
        pair = _drawn(cluster_size * b * cluster_size, q, rng)
        edges.append(np.stack([pair // cluster_size, b * cluster_size + pair % cluster_size], axis=1))
    rng = np.random.default_rng(attribute_stream)
    means = rng.standard_normal((blocks, attribute_dim))
    means *= attribute_signal / np.linalg.norm(means, axis=1, keepdims=True)
    labels = np.repeat(np.arange(blocks), cluster_size)
    attributes = (means[labels] + rng.standard_normal((n, attribute_dim))).astype(np.float32)
    return vertex_dataset(
        graph_from_edges(n, np.concatenate(edges)),
        labels,
        attributes,
        class_names=[f"block {b}" for b in range(blocks)],
        labelled_per_class=labelled_per_class,
        noisy_labels=noisy_labels,
        seed=int(np.random.default_rng(grant_stream).integers(2**31)),
    )


def _drawn(pairs: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Which of `pairs` become edges, each with `probability`, ascending int64."""
    count = int(binom.ppf(rng.random(), pairs, probability)) if 0 < probability < 1 else round(pairs * probability)
    if count == pairs:
        return np.arange(pairs, dtype=np.int64)
    chosen = np.zeros(0, dtype=np.int64)
    while len(chosen) < count:  # draw and drop repetitions, until enough are left
        chosen = np.unique(np.concatenate([chosen, rng.integers(pairs, size=count - len(chosen))]))
    return chosen
