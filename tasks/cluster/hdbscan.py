"""Exact HDBSCAN, by scikit-learn."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Representation


def hdbscan(
    representation: Representation,
    *,
    min_cluster_size: Annotated[int, Field(ge=2)] = 20,
    min_samples: Annotated[int, Field(ge=1)] = 10,
    max_cluster_size: Annotated[int, Field(ge=2)] | None = None,
    allow_single_cluster: bool = False,
) -> Clusters:
    """HDBSCAN (Campello, Moulavi & Sander, PAKDD 2013) by scikit-learn, over all pairs of units.

    Parameters
    ----------
    min_cluster_size: least points of a cluster.
    min_samples: neighbours that make a point dense, itself not counted (scikit-learn counts it and gets one more).
    max_cluster_size: most points of a cluster (hdbscan's parameter of that name); default: any number. Without a bound, the bulk of
        the units can become one cluster as soon as a single small group has split off.
    allow_single_cluster: whether all units may be one cluster.

    Returns table `units` (unit, cluster; -1 is noise, others numbered by smallest member, sample), `membership` float32 [n]; meta
    `n_clusters`, `noise_share`, `settings`. Raises ValueError: rows that are not finite, fewer than `min_samples` + 1 units.
    Fewer units than `min_cluster_size` are all noise.
    """
    units = representation.tables["units"]
    x_ND = np.array(representation.arrays["embedding"], dtype=np.float64)
    if not np.isfinite(x_ND).all():
        raise ValueError(f"representation: row {int((~np.isfinite(x_ND)).any(axis=1).argmax())} is not finite")
    n = len(x_ND)
    cluster, membership = np.full(n, -1, dtype=np.int64), np.zeros(n)
    if n >= min_cluster_size:
        if n <= min_samples:
            raise ValueError(
                f"min_samples = {min_samples} for {n} units: a unit has {n - 1} neighbours; lower min_samples"
            )
        cluster, membership = exact_labels(x_ND, min_cluster_size, min_samples, allow_single_cluster, max_cluster_size)
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": units["sample"]})},
        {"membership": membership.astype(np.float32)},
        meta={
            "n_clusters": int(cluster.max(initial=-1)) + 1,
            "noise_share": float((cluster < 0).mean()) if n else 0.0,
            "settings": {"min_cluster_size": min_cluster_size, "min_samples": min_samples},
        },
    )


def exact_labels(
    x_ND: np.ndarray,
    min_cluster_size: int,
    min_samples: int,
    allow_single_cluster: bool = False,
    max_cluster_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 [N], -1 noise and others numbered by smallest member, and memberships float64 [N]."""
    from sklearn.cluster import HDBSCAN  # imported where it is used: half a second

    fit = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min_samples + 1,
        allow_single_cluster=allow_single_cluster,
        max_cluster_size=max_cluster_size,
        copy=True,  # pyright: ignore[reportArgumentType]
    ).fit(x_ND)
    labels = np.asarray(fit.labels_, dtype=np.int64)
    member = labels >= 0
    found, first = np.unique(labels[member], return_index=True)
    number = np.full(len(labels) + 1, -1)
    number[found[np.argsort(np.flatnonzero(member)[first])]] = np.arange(len(found))
    return np.where(member, number[labels], -1), np.asarray(fit.probabilities_)
