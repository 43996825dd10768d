"""The cluster of every unit as its label, copied to the points of the unit."""

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Dataset, PseudoLabels


def hard_labels(dataset: Dataset, clusters: Clusters) -> PseudoLabels:
    """Each point gets the cluster of its super-voxel (or its own, where single points were clustered).

    Table `units` (unit: point, pseudo_label, sample: scene); meta `n_clusters`, `pool`. Raises ValueError if the clusters
    do not say which unit a point belongs to.
    """
    if "unit" not in clusters.arrays:
        raise ValueError("clusters: array 'unit' is needed and absent; use step 'supervoxel_kmeans'")
    label_P = clusters.tables["units"]["cluster"].to_numpy()[np.asarray(clusters.arrays["unit"])]
    scene = np.asarray(dataset.arrays["scene"]).astype(np.int64)
    units = pd.DataFrame({"unit": np.arange(len(label_P)), "pseudo_label": label_P, "sample": scene})
    return PseudoLabels({"units": units}, meta={name: clusters.meta[name] for name in ("n_clusters", "pool")})
