"""Known rows keep their class, novel rows get the number of their cluster."""

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Dataset, PseudoLabels
from tasks.discovery.known_and_novel import known_classes


def known_and_novel_labels(dataset: Dataset, clusters: Clusters) -> PseudoLabels:
    """One numbering of known classes and discovered ones.

    Reuses the clusters of novel class discovery (Troisemaine et al., arXiv 2311.05440) as labels: known train rows get
    0..C_l-1 (their class by rising label), rows with a cluster get C_l + cluster, all others -1.

    Returns table `units` (unit, pseudo_label int64, sample, given_label); meta `known_classes` (labels of 0..C_l-1),
    `n_novel`, and `array`, the array of the representation that was clustered.

    Raises ValueError: fewer than two known classes; a known train row with a cluster.
    """
    known, units = known_classes(dataset), clusters.tables["units"]
    cluster = units["cluster"].to_numpy()
    if (cluster[known.rows] >= 0).any():
        raise ValueError(
            "clusters: known train rows have a cluster; cluster the novel rows only (novel_kmeans, ncd_kmeans)"
        )
    pseudo = np.where(cluster >= 0, len(known.classes) + cluster, -1)
    pseudo[known.rows] = known.index
    table = pd.DataFrame(
        {
            "unit": units["unit"],
            "pseudo_label": pseudo.astype(np.int64),
            "sample": units["sample"],
            "given_label": dataset.samples["given_label"],
        }
    )
    meta = {"known_classes": known.classes.tolist(), "n_novel": int(clusters.meta["n_clusters"])}
    return PseudoLabels({"units": table}, meta={**meta, "array": clusters.meta.get("array", "embedding")})
