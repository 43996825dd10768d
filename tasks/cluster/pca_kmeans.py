"""k-means on standardised features in their first principal components.

Shape legend: U units, N units of train, D features, k clusters.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.kmeans import assign, fit_kmeans

Count = Annotated[int, Field(ge=1)]
_SILHOUETTE_ROWS = 2000


def pca_kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Annotated[int, Field(ge=2)],
    standardise: bool = True,
    dim: Count = 50,
    n_iter: Count = 25,
    n_init: Count = 10,
    seed: int,
) -> Clusters:
    """How much group structure features have without any label: k-means (Lloyd 1982) from k-means++ starts.

    Parameters
    ----------
    k: number of clusters. standardise: give every feature mean 0 and deviation 1.
    dim: principal components kept (fewer if there are fewer). n_iter, n_init: of k-means.

    All is fitted on the units of split train. Returns table `units` (unit, cluster, sample) of all units, `centroids` float32
    [k, dim] in the components; meta `n_clusters`, `inertia`, `silhouette` (mean of at most 2000 units of train, -1..1): a
    score by which representations may be chosen, as it needs no labels.

    Raises ValueError: `k` above the number of distinct rows; rows that are not finite.
    """
    units = representation.tables["units"]
    sample = units["sample"].to_numpy()
    x_UD = np.array(representation.arrays["embedding"], dtype=np.float64)
    if not np.isfinite(x_UD).all():
        raise ValueError("representation: the embedding has NaN or infinite values")
    train = np.flatnonzero(np.isin(sample, dataset.rows("train")))
    if standardise:
        deviation_D = x_UD[train].std(axis=0)
        x_UD = (x_UD - x_UD[train].mean(axis=0)) / np.where(deviation_D > 0, deviation_D, 1)
    solver = "covariance_eigh" if len(train) > x_UD.shape[1] else "full"
    pca = PCA(min(dim, len(train), x_UD.shape[1]), svd_solver=solver).fit(x_UD[train])
    component_UD = pca.transform(x_UD).astype(np.float32)
    fit = fit_kmeans(component_UD[train], k, n_iter=n_iter, n_init=n_init, seed=seed)
    cluster = assign(component_UD, fit.centroids)
    cluster[train] = fit.labels
    some = np.random.default_rng(seed).permutation(len(train))[:_SILHOUETTE_ROWS]
    silhouette = float(silhouette_score(component_UD[train][some], fit.labels[some]))
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": sample})},
        {"centroids": fit.centroids},
        meta={"n_clusters": k, "inertia": fit.inertia, "silhouette": silhouette},
    )
