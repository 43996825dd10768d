"""Clusters of the novel rows in the form in which every later step of a discovery reads them."""

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters
from tasks.curves import curve_table


def novel_clusters(
    units: pd.DataFrame,
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    array: str,
    estimate: tuple[int, np.ndarray, np.ndarray] | None = None,
    centroids: np.ndarray | None = None,
    curves: list[pd.DataFrame] | None = None,
) -> Clusters:
    """Table `units` with the cluster of the novel `rows` and -1 elsewhere; meta `n_clusters`, `array`, `k_estimated`.

    `estimate` is what `estimate_cluster_number` returns; its curve is kept as `silhouette_by_k`.
    """
    cluster = np.full(len(units), -1, dtype=np.int64)
    cluster[rows] = labels
    tables = {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": units["sample"]})}
    curves = list(curves or [])
    meta: dict[str, object] = {"n_clusters": int(labels.max()) + 1, "array": array}
    if estimate is not None:
        meta["k_estimated"] = estimate[0]
        curves.append(curve_table("silhouette_by_k", estimate[1], estimate[2]))
    if curves:
        tables["curves"] = pd.concat(curves, ignore_index=True)
    return Clusters(tables, {} if centroids is None else {"centroids": centroids.astype(np.float32)}, meta=meta)
