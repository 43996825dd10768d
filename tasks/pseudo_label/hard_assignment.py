"""The cluster of each unit as its label, weighted by how surely it belongs there."""

import numpy as np

from tasks.artifacts import Clusters, PseudoLabels


def hard_assignment(clusters: Clusters) -> PseudoLabels:
    """Round soft assignments: the label is the cluster, the weight its membership.

    Returns table `units` (unit, pseudo_label = cluster, -1 for noise, sample), `weight` float32 [units]: the largest
    `membership` of the unit, 1 where clusters have none, 0 for noise; meta `n_clusters`.

    Raises ValueError: memberships that are not one row per unit, or whose largest is not that of the unit's cluster.
    """
    units = clusters.tables["units"]
    cluster = units["cluster"].to_numpy()
    weight = (cluster >= 0).astype(np.float32)
    if "membership" in clusters.arrays:
        membership = np.asarray(clusters.arrays["membership"])
        if len(membership) != len(units):
            raise ValueError(f"clusters: {len(membership)} memberships for {len(units)} units, not one each")
        largest = membership.max(axis=1)
        wrong = (cluster >= 0) & (membership[np.arange(len(units)), cluster] < largest)
        if wrong.any():
            raise ValueError(f"clusters: unit {int(wrong.argmax())} is not in the cluster of its largest membership")
        weight *= largest
    columns = [c for c in ("unit", "sample") if c in units]
    return PseudoLabels(
        {"units": units[columns].assign(pseudo_label=cluster)},
        {"weight": weight},
        meta={"n_clusters": int(clusters.meta["n_clusters"])},
    )
