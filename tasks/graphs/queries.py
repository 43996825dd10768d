"""Which seed vertices a method is asked about, and what the setting grants about their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.artifacts import Dataset


@dataclass(frozen=True)
class Query:
    """A seed vertex; the class that it was granted to belong to; size and volume of that class, if granted."""

    vertex: int
    target: int
    size: float | None
    volume: float | None


def granted_labels(dataset: Dataset) -> np.ndarray:
    """`given_label` int64 [n], -1 where none is granted."""
    if "given_label" not in dataset.samples:
        raise ValueError("dataset: column 'given_label' is needed and absent; give the data set 'labelled_per_class'")
    return dataset.samples["given_label"].fillna(-1).to_numpy(dtype=np.int64)


def draw_queries(dataset: Dataset, count: int, seed: int) -> list[Query]:
    """`count` different vertices among those whose label is granted, drawn with `seed`: the same for every step.

    Raises `ValueError` if fewer labels are granted.
    """
    given = granted_labels(dataset)
    pool = np.flatnonzero(given >= 0)
    if count > len(pool):
        raise ValueError(
            f"seed_vertices: {count} wanted, but only {len(pool)} vertices have a granted label to be a seed; "
            "lower 'seed_vertices' or raise 'labelled_per_class' of the data set"
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    return [query_of(dataset, int(vertex), given) for vertex in rng.permutation(pool)[:count]]


def query_of(dataset: Dataset, vertex: int, given: np.ndarray) -> Query:
    """The query for one vertex."""
    target = int(given[vertex])

    def granted(name: str) -> float | None:
        known = dataset.arrays.get(name)
        return float(known[target]) if known is not None else None

    return Query(vertex, target, granted("target_size"), granted("target_volume"))


def measure_of(query: Query, sink: str, estimate: float | None) -> float:
    """Size (sink `one`) or volume (`degree`) of the target: the user's estimate, else what the data set grants.

    Raises `ValueError` if there is neither, or an empty target.
    """
    known = estimate if estimate is not None else query.volume if sink == "degree" else query.size
    if known is None:
        raise ValueError("target: the data set grants no size of the targets; give an estimate as 'target'")
    if known <= 0:
        raise ValueError(
            f"target: the target of vertex {query.vertex} is empty (class {query.target}); choose another seed"
        )
    return known


def rng_of(seed: int, position: int) -> np.random.Generator:
    """The stream of the diffusion from the seed vertex at `position`; equal in every stage."""
    return np.random.default_rng(np.random.SeedSequence([seed, 1, position]))
