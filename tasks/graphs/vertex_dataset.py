"""A graph with labelled, perhaps attributed vertices as a data set, and what local clustering is granted of its labels."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Dataset
from tasks.graphs.adjacency import Graph, graph_arrays

Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
UNLABELLED = -1


class NoisyLabels(BaseModel):
    """Yes/no labels for every target: right for a share `a1` of its members and a share `a0` of all other vertices."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    a1: Rate
    a0: Rate


def vertex_dataset(
    graph: Graph,
    labels: np.ndarray | None,
    attributes: np.ndarray | None,
    *,
    class_names: list[str],
    labelled_per_class: int,
    noisy_labels: list[NoisyLabels],
    seed: int,
) -> Dataset:
    """Samples are the vertices, all in split train.

    `labels` int64 [n], -1 where unknown, or None. Granted are: `given_label` of `labelled_per_class` vertices of each
    class (all of a smaller one), which may be seeds; `target_size` and `target_volume` float64 [classes] of each class
    (an oracle, as in the papers' experiments); `noisy_labels` uint8 [levels, classes, n] with `noisy_accuracy` float64
    [levels, 2] (a1, a0). The draws are independent streams of `seed`. The truth is `label`.
    """
    n = graph.n
    samples = pd.DataFrame({"sample": np.arange(n, dtype=np.int64), "split": pd.Series(["train"] * n, dtype="str")})
    arrays = graph_arrays(graph)
    if attributes is not None:
        if len(attributes) != n:
            raise ValueError(f"attributes: {len(attributes)} rows for {n} vertices; every vertex needs one row")
        bad = np.flatnonzero(~np.isfinite(attributes).all(axis=1))
        if len(bad):
            raise ValueError(
                f"attributes: vertex {bad[0]} has missing or infinite attributes ({len(bad)} such); fill them"
            )
        arrays["attributes"] = np.asarray(attributes, dtype=np.float32)
    meta: dict = {"truth": []}
    if labels is None:
        return Dataset({"samples": samples}, arrays, meta=meta)
    if len(labels) != n:
        raise ValueError(f"labels: {len(labels)} labels for {n} vertices; every vertex needs one (-1 if unknown)")
    classes = len(class_names)
    grant_stream, noise_stream = np.random.SeedSequence(seed).spawn(2)
    rng, granted = np.random.default_rng(grant_stream), np.full(n, UNLABELLED)
    degrees = graph.degrees()
    size, volume = np.zeros(classes), np.zeros(classes)
    for c in range(classes):
        members = np.flatnonzero(labels == c)
        size[c], volume[c] = len(members), degrees[members].sum()
        chosen = rng.permutation(members)[:labelled_per_class]
        granted[chosen] = c
    for column, values in (("label", labels), ("given_label", granted)):
        samples[column] = pd.Series(values, dtype="Int64").mask(values == UNLABELLED)
    arrays |= {"target_size": size, "target_volume": volume}
    if noisy_labels:
        rng = np.random.default_rng(noise_stream)
        noisy = np.empty((len(noisy_labels), classes, n), dtype=np.uint8)
        for level, rates in enumerate(noisy_labels):
            for c in range(classes):
                member = labels == c
                right = rng.random(n) < np.where(member, rates.a1, rates.a0)
                noisy[level, c] = right == member
        arrays["noisy_labels"] = noisy
        arrays["noisy_accuracy"] = np.array([[rates.a1, rates.a0] for rates in noisy_labels])
    return Dataset({"samples": samples}, arrays, meta={**meta, "class_names": class_names})
