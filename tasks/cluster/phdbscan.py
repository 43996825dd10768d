"""HDBSCAN on a graph of nearest neighbours, for tables too large for all pairs."""

import warnings
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Representation
from tasks.clustering.condensed_tree import condense, excess_of_mass, single_linkage
from tasks.clustering.knn_graph import Index, neighbours
from tasks.clustering.spanning_tree import Connect, join_pieces, mutual_reachability_forest

LEAST_RECALL = 0.95


def phdbscan(
    representation: Representation,
    *,
    min_cluster_size: Annotated[int, Field(ge=2)] = 20,
    min_samples: Annotated[int, Field(ge=1)] = 10,
    n_neighbors: Annotated[int, Field(ge=1)] = 16,
    index: Index = "auto",
    connect: Connect = "sampled",
    connect_sample: Annotated[int, Field(ge=1)] = 200,
    max_cluster_size: Annotated[int, Field(ge=2)] | None = None,
    allow_single_cluster: bool = False,
) -> Clusters:
    """pHDBSCAN of FinDeepBehaviorCluster (Min et al., AAAI 2021 workshop KDF, arXiv 2101.04285).

    HDBSCAN (Campello, Moulavi & Sander, PAKDD 2013) whose minimum spanning tree is sought in the graph of nearest
    neighbours that faiss finds, not among all pairs; pieces of that graph are joined by their lightest known edges. With
    `index: flat`, `n_neighbors` = n - 1 it is HDBSCAN. Euclidean; nothing in it is random.

    Parameters
    ----------
    min_cluster_size: least points of a cluster.
    min_samples: s, neighbours that make a point dense: its core distance is that to its s-th neighbour, itself not counted.
    n_neighbors: k >= s, neighbours of each unit in the graph; at most n - 1 are used.
    index: `flat` compares all pairs; `cells` compares a unit with the cells around its own that hold 95 % of the neighbours, up to
        8192 units; `ivf` looks into the 16 nearest of 4 sqrt(n) lists, `gpu_ivf` on a GPU; `auto`: flat up to 10,000 units, else cells.
    connect: how pieces of the graph are joined: `sampled`, by `connect_sample` points of each and a walk to a nearest pair;
        `exact`, by all pairs of points (n^2); `none`: they meet at density 0, every piece is a tree of its own.
    connect_sample: points of each piece.
    max_cluster_size: most points of a cluster (hdbscan's parameter of that name); default: any number. Without a bound, the bulk of
        the units can become one cluster as soon as a single small group has split off.
    allow_single_cluster: whether all units may be one cluster.

    Returns table `units` (unit, cluster; -1 is noise, others numbered by smallest member, sample), `spanning_tree` (a, b,
    distance), `condensed_tree` (parent, child, density = 1 / distance, size, selected; children below n are units, n is the
    root), `membership` float32 [n] (0..1, 0 for noise); meta `n_clusters`, `noise_share`, `settings`, `index`, `pieces` and
    `rounds` of joining, `recall` of the index (share of the true neighbours found, on 1,000 units).

    Raises ValueError: rows that are not finite, `n_neighbors` below `min_samples`, fewer than `min_samples` + 1 units, no GPU
    for `gpu_ivf`. Fewer units than `min_cluster_size` are all noise. Warns if the recall is below 0.95.
    """
    if n_neighbors < min_samples:
        raise ValueError(f"n_neighbors = {n_neighbors} is below min_samples = {min_samples}; raise n_neighbors")
    units = representation.tables["units"]
    x_ND = np.array(representation.arrays["embedding"], dtype=np.float32, order="C")
    if not np.isfinite(x_ND).all():
        raise ValueError(f"representation: row {int((~np.isfinite(x_ND)).any(axis=1).argmax())} is not finite")
    n = len(x_ND)
    settings = {
        "min_cluster_size": min_cluster_size,
        "min_samples": min_samples,
        "n_neighbors": n_neighbors,
        "max_cluster_size": max_cluster_size,
        "allow_single_cluster": allow_single_cluster,
    }
    if n < min_cluster_size:
        return _clusters(units, np.full(n, -1), np.zeros(n), {"settings": settings})
    if n <= min_samples:
        raise ValueError(f"min_samples = {min_samples} for {n} units: a unit has {n - 1} neighbours; lower min_samples")
    found = neighbours(x_ND, min(n_neighbors, n - 1), at_least=min_samples, index=index)
    if found.recall < LEAST_RECALL:
        warnings.warn(
            f"index {found.index} finds {found.recall:.3f} of the neighbours; clusters may differ from HDBSCAN's",
            stacklevel=2,
        )
    core_N = found.distances[:, min_samples - 1].astype(np.float64)
    forest, component_N = mutual_reachability_forest(found, core_N)
    pieces = int(component_N.max()) + 1
    forest, rounds = join_pieces(x_ND, core_N, forest, component_N, connect, connect_sample)
    tree = condense(single_linkage(n, forest), min_cluster_size)
    result = excess_of_mass(tree, allow_single_cluster=allow_single_cluster, max_cluster_size=max_cluster_size)
    meta = {"settings": settings, "index": found.index, "pieces": pieces, "rounds": rounds, "recall": found.recall}
    clusters = _clusters(units, result.labels, result.membership, meta)
    clusters.tables["condensed_tree"] = pd.DataFrame(
        {
            "parent": tree.parent,
            "child": tree.child,
            "density": tree.density,
            "size": tree.size,
            "selected": np.isin(tree.child, result.selected),
        }
    )
    real = np.isfinite(forest.weight)
    clusters.tables["spanning_tree"] = pd.DataFrame(
        {"a": forest.a[real], "b": forest.b[real], "distance": forest.weight[real]}
    )
    return clusters


def _clusters(units: pd.DataFrame, label_N: np.ndarray, membership_N: np.ndarray, meta: dict[str, Any]) -> Clusters:
    noise = float((label_N < 0).mean()) if len(label_N) else 0.0
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": label_N, "sample": units["sample"]})},
        {"membership": membership_N.astype(np.float32)},
        meta={"n_clusters": int(label_N.max(initial=-1)) + 1, "noise_share": noise, **meta},
    )
