"""Agreement of a clustering with classes."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def contingency(clusters_N: np.ndarray, classes_N: np.ndarray) -> np.ndarray:
    """Rows int64 [K, C] by cluster and class, both renumbered in the order of their ids."""
    clusters, cluster_N = np.unique(clusters_N, return_inverse=True)
    classes, class_N = np.unique(classes_N, return_inverse=True)
    flat = np.bincount(cluster_N * len(classes) + class_N, minlength=len(clusters) * len(classes))
    return flat.reshape(len(clusters), len(classes))


def clustering_accuracy(clusters_N: np.ndarray, classes_N: np.ndarray) -> float:
    """Share of rows that agree under the best one-to-one map of clusters to classes (Kuhn 1955, Hungarian method).

    Clusters beyond the number of classes are unmapped, and their rows count as errors. Raises ValueError: no rows.
    """
    if len(clusters_N) == 0:
        raise ValueError("clustering accuracy of no rows")
    table_KC = contingency(clusters_N, classes_N)
    rows, columns = linear_sum_assignment(table_KC, maximize=True)
    return float(table_KC[rows, columns].sum() / len(clusters_N))
