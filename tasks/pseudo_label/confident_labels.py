"""Cluster labels of the units that belong to their cluster beyond doubt."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels


def confident_labels(
    dataset: Dataset,
    clusters: Clusters,
    *,
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
    least: Annotated[int, Field(ge=1)] = 2,
) -> PseudoLabels:
    """Keep the clustered units of split train whose largest membership reaches `threshold` (Zhuang, Chen & Yang, arXiv
    2209.15097, give the memberships; what to do with them is chosen here).

    Parameters
    ----------
    threshold: least membership, 0..1; without `membership` in the clusters every clustered train unit is kept.
    least: units that a cluster keeps at least, its surest ones, so that no cluster is lost.

    Returns table `units` (unit, pseudo_label = cluster or -1, sample) and `mask` bool [units]; meta `n_clusters`.

    Raises ValueError: memberships that do not fit the points clustered; no unit with a cluster.
    """
    units = clusters.tables["units"]
    cluster = units["cluster"].to_numpy()
    points = np.flatnonzero((cluster >= 0) & np.isin(units["sample"].to_numpy(), dataset.rows("train")))
    if len(points) == 0:
        raise ValueError("clusters: no unit of split 'train' has a cluster; nothing can be labelled")
    confidence = np.ones(len(points))
    if "membership" in clusters.arrays:
        confidence = np.asarray(clusters.arrays["membership"]).max(axis=1)
        if len(confidence) != len(points):
            raise ValueError(f"clusters: {len(confidence)} memberships for {len(points)} clustered train units")
    kept = confidence >= threshold
    for group in np.unique(cluster[points]):
        members = np.flatnonzero(cluster[points] == group)
        kept[members[np.argsort(-confidence[members], kind="stable")[:least]]] = True
    mask = np.zeros(len(units), dtype=bool)
    mask[points[kept]] = True
    table = pd.DataFrame(
        {"unit": units["unit"], "pseudo_label": np.where(mask, cluster, -1), "sample": units["sample"]}
    )
    return PseudoLabels({"units": table}, {"mask": mask}, meta={"n_clusters": int(clusters.meta["n_clusters"])})
