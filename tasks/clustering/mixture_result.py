"""What clusterings of Gaussian groups leave behind, in one form.

Shape legend: n points, p dimensions, K groups, R rounds, S starts.
"""

from typing import Any

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.curves import curve_table


def points_to_cluster(dataset: Dataset, representation: Representation, subsample: int | None, seed: int) -> np.ndarray:
    """Units int64 [n] whose samples are in split train, or a random `subsample` of them, in order."""
    sample = representation.tables["units"]["sample"].to_numpy()
    units = np.flatnonzero(np.isin(sample, dataset.rows("train")))
    if subsample is not None and subsample < len(units):
        rng = np.random.default_rng([seed, 1])  # apart from the stream of the starts
        units = np.sort(rng.choice(units, subsample, replace=False))
    return units


def as_clusters(
    representation: Representation,
    points: np.ndarray,
    label_n: np.ndarray,
    membership_nK: np.ndarray,
    mean_RKp: np.ndarray,
    covariance_RKpp: np.ndarray,
    *,
    start_labels: np.ndarray,
    start_score: np.ndarray,
    objectives: list[float],
    arrays: dict[str, np.ndarray],
    meta: dict[str, Any],
) -> Clusters:
    """Labels of `points`, -1 elsewhere, with shapes of the groups in every round and the results of all starts."""
    units = representation.tables["units"]
    cluster = np.full(len(units), -1, dtype=np.int64)
    cluster[points] = label_n
    table = pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": units["sample"]})
    return Clusters(
        {"units": table, "curves": curve_table("objective", range(1, len(objectives) + 1), objectives)},
        {
            "points": points.astype(np.int64),
            "membership": membership_nK.astype(np.float32),
            "means": mean_RKp[-1].astype(np.float32),
            "covariances": covariance_RKpp[-1].astype(np.float32),
            "mean_rounds": mean_RKp.astype(np.float32),
            "covariance_rounds": covariance_RKpp.astype(np.float32),
            "start_labels": start_labels.astype(np.int64),
            "start_score": start_score.astype(np.float64),
            **{name: array.astype(np.float32) for name, array in arrays.items()},
        },
        meta={"n_clusters": membership_nK.shape[1], **meta},
    )
