"""Soft targets from the distance of codes to centroids.

Shape legend: n units, K clusters, d dimensions.
"""

import numpy as np

from tasks.artifacts import Clusters, PseudoLabels, Representation
from tasks.clustering.target_distribution import Mode, softmax_rows, target_assignments, unit_centroids


def target_distribution(representation: Representation, clusters: Clusters, *, mode: Mode = "squared") -> PseudoLabels:
    """Targets of DEPICT (Ghasedi Dizaji et al., ICCV 2017, arXiv 1704.06327) before anything has been trained on them.

    P is the soft-max of the codes times the unit-length centroids, Q its target.

    mode: `squared` sharpens and balances (the authors' code), `sqrt` balances (the paper), `hard` is the largest entry,
        `none` is P itself. Training computes its targets in the same way.

    Returns table `units` (unit, pseudo_label = the cluster that the clustering gave, sample), `probability` (P) and `target`
    (Q) float32 [n, K]; meta `mode`, `n_clusters`.

    Raises ValueError: no centroids, a centroid without a direction of its own, codes that are not finite.
    """
    if "centroids" not in clusters.arrays:
        raise ValueError("clusters: array 'centroids' is needed and absent; use step 'kmeans' or 'ac_pic'")
    weights_Kd = unit_centroids(clusters.arrays["centroids"])
    p_nK = softmax_rows(np.array(representation.arrays["embedding"], dtype=np.float64) @ weights_Kd.T)
    units = clusters.tables["units"]
    return PseudoLabels(
        {"units": units[["unit", "sample"]].assign(pseudo_label=units["cluster"])},
        {"probability": p_nK.astype(np.float32), "target": target_assignments(p_nK, mode).astype(np.float32)},
        meta={"mode": mode, "n_clusters": len(weights_Kd)},
    )
