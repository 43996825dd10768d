"""What a local method finds around each seed vertex, and how an artifact keeps it: sparse, so that size follows work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """One cluster on offer: for which mass (multiple of the target's measure), its conductance, its vertices int64."""

    mass: float
    conductance: float
    vertices: np.ndarray


@dataclass(frozen=True)
class LocalCluster:
    """The cluster of one seed vertex.

    `candidates[chosen]` is the result. `reached` int64 are the vertices with a positive `score` float64 (the potential
    x of a diffusion, PageRank over degree) at the chosen mass. `touched` vertices, `edges_read` adjacency entries.
    """

    seed_vertex: int
    candidates: list[Candidate]
    chosen: int
    reached: np.ndarray
    score: np.ndarray
    touched: int
    edges_read: int

    @property
    def vertices(self) -> np.ndarray:
        return self.candidates[self.chosen].vertices

    @property
    def conductance(self) -> float:
        return self.candidates[self.chosen].conductance


def lone_seed(seed_vertex: int, touched: int = 1, edges_read: int = 0) -> LocalCluster:
    """The cluster that is left where nothing can move: the seed vertex alone."""
    alone = np.array([seed_vertex], dtype=np.int64)
    return LocalCluster(seed_vertex, [Candidate(0.0, 1.0, alone)], 0, alone, np.ones(1), touched, edges_read)


def cluster_arrays(clusters: list[LocalCluster]) -> dict[str, np.ndarray]:
    """Arrays for an artifact; those with one entry per seed vertex are `seed_vertex`, `chosen`, `touched`, `edges_read`."""
    candidates = [c for cluster in clusters for c in cluster.candidates]
    return {
        "seed_vertex": np.array([c.seed_vertex for c in clusters], dtype=np.int64),
        "chosen": np.array([c.chosen for c in clusters], dtype=np.int64),
        "touched": np.array([c.touched for c in clusters], dtype=np.int64),
        "edges_read": np.array([c.edges_read for c in clusters], dtype=np.int64),
        "reached_offset": _offsets([len(c.reached) for c in clusters]),
        "reached": _joined([c.reached for c in clusters], np.int64),
        "score": _joined([c.score for c in clusters], np.float64),
        "candidate_offset": _offsets([len(c.candidates) for c in clusters]),
        "candidate_mass": np.array([c.mass for c in candidates], dtype=np.float64),
        "candidate_conductance": np.array([c.conductance for c in candidates], dtype=np.float64),
        "vertex_offset": _offsets([len(c.vertices) for c in candidates]),
        "vertex": _joined([c.vertices for c in candidates], np.int64),
    }


def local_clusters(arrays: Mapping[str, np.ndarray], needed_by: str) -> list[LocalCluster]:
    """The inverse of `cluster_arrays`; `ValueError` for another artifact's arrays."""
    if "vertex_offset" not in arrays:
        raise ValueError(f"{needed_by} needs the clusters of seed vertices; use step 'flow_diffusion' or 'pagerank'")
    parts = list(pairwise(arrays["vertex_offset"]))
    candidates = [
        Candidate(float(mass), float(conductance), np.array(arrays["vertex"][a:b]))
        for mass, conductance, (a, b) in zip(
            arrays["candidate_mass"], arrays["candidate_conductance"], parts, strict=True
        )
    ]
    return [
        LocalCluster(
            int(arrays["seed_vertex"][q]),
            candidates[first:last],
            int(arrays["chosen"][q]),
            np.array(arrays["reached"][a:b]),
            np.array(arrays["score"][a:b]),
            int(arrays["touched"][q]),
            int(arrays["edges_read"][q]),
        )
        for q, ((first, last), (a, b)) in enumerate(
            zip(pairwise(arrays["candidate_offset"]), pairwise(arrays["reached_offset"]), strict=True)
        )
    ]


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)
