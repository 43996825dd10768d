"""Every class cut into subclasses about as large as the smallest class.

Shape legend: N units, D dimensions, C classes, K subclasses.
"""

import warnings
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.balanced_kmeans import fit_balanced_kmeans
from tasks.clustering.kmeans import KMeansFit, fit_kmeans
from tasks.readers.long_tail import class_sizes


def within_class_kmeans(
    dataset: Dataset,
    representation: Representation,
    *,
    min_size: Annotated[int, Field(ge=1)] = 10,
    metric: Literal["cosine", "euclidean"] = "cosine",
    balanced: bool = True,
    assignment: Literal["kmeans", "random"] = "kmeans",
    n_iter: Annotated[int, Field(ge=1)] = 35,
    seed: int,
) -> Clusters:
    """Subclasses of SBCL (Hou et al., ICCV 2023, arXiv 2306.15925).

    Class c of n_c units becomes k_c = max(1, floor(n_c / M)) clusters, M = max(smallest class, `min_size`): subclasses
    are about as large as a tail class, and a tail class is one subclass.

    Parameters
    ----------
    min_size: least subclass size aimed at; 10 for CIFAR-LT and 20 for ImageNet-LT in the paper.
    metric: `cosine` scales the embedding to unit length first; `euclidean` takes it as it is.
    balanced: no subclass of class c exceeds ceil(n_c / k_c); false: plain k-means.
    assignment: `random` shuffles the members of a class among its subclasses, which keep their sizes (an ablation).
    n_iter: k-means iterations at most.

    Classes are `given_label`, 0..C-1, of the units' samples; units without one get cluster -1. Returns table `units`
    (unit, cluster, sample); `centroids` float32 [K, D] (means in the space that was clustered, ordered by class),
    `class_of_cluster` int64 [K], `subclasses` int64 [C] (k_c); cluster ids are 0..K-1, those of a class contiguous.
    meta `settings` holds the parameters, so that training can cluster again as declared.

    Raises ValueError: no labels, a class without units, an embedding that is not finite or (cosine) has a zero row.
    Warns if every class is a single subclass.
    """
    settings = {
        "min_size": min_size,
        "metric": metric,
        "balanced": balanced,
        "assignment": assignment,
        "n_iter": n_iter,
    }
    units = representation.tables["units"]
    sample = units["sample"].to_numpy()
    if "given_label" not in dataset.samples:
        raise ValueError("dataset: column 'given_label' is needed and absent; subclasses are cut from labeled classes")
    label = dataset.samples["given_label"].iloc[sample]
    labeled = np.flatnonzero(label.notna().to_numpy())
    class_N = label.iloc[labeled].to_numpy(dtype=np.int64)
    x_ND = np.asarray(representation.arrays["embedding"])[labeled]
    sizes_C = class_sizes(class_N, class_count(dataset), what="given_label of the units")
    subclasses_C = subclass_counts(sizes_C, min_size)
    if (subclasses_C == 1).all():
        warnings.warn(
            f"min_size = {min_size}: every class is a single subclass, so SBCL is SupCon plus an instance term",
            stacklevel=2,
        )
    cluster_N = np.empty(len(x_ND), dtype=np.int64)
    centroids = []
    offset = 0
    for c, stream in enumerate(np.random.SeedSequence(seed).spawn(len(sizes_C))):
        members = np.flatnonzero(class_N == c)
        rng = np.random.default_rng(stream)
        fit = _fit(x_ND[members], int(subclasses_C[c]), settings, int(rng.integers(2**31 - 1)))
        shuffled = assignment == "random" and subclasses_C[c] > 1
        labels = rng.permutation(fit.labels) if shuffled else fit.labels
        cluster_N[members] = offset + labels
        centroids.append(_means(x_ND[members], labels, len(fit.centroids)) if shuffled else fit.centroids)
        offset += int(subclasses_C[c])
    cluster = np.full(len(units), -1, dtype=np.int64)
    cluster[labeled] = cluster_N
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": units["sample"]})},
        {
            "centroids": np.concatenate(centroids).astype(np.float32),
            "class_of_cluster": np.repeat(np.arange(len(sizes_C)), subclasses_C),
            "subclasses": subclasses_C,
        },
        meta={"n_clusters": offset, "settings": settings},
    )


def subclass_counts(sizes_C: np.ndarray, min_size: int) -> np.ndarray:
    """k_c = max(1, floor(n_c / M)) int64 [C] with M = max(min n_c, `min_size`)."""
    if min_size < 1:
        raise ValueError(f"min_size must be at least 1, got {min_size}")
    return np.maximum(1, sizes_C // max(int(sizes_C.min()), min_size)).astype(np.int64)


def class_count(dataset: Dataset) -> int | None:
    """Number of classes that the data set declares, if it names them."""
    names = dataset.meta.get("class_names")
    return None if names is None else len(names)


def _fit(x_ND: np.ndarray, k: int, settings: dict[str, Any], seed: int) -> KMeansFit:
    spherical = settings["metric"] == "cosine"
    if k == 1 or settings["balanced"]:
        return fit_balanced_kmeans(x_ND, k, spherical=spherical, n_iter=settings["n_iter"], seed=seed)
    return fit_kmeans(x_ND, k, spherical=spherical, n_iter=settings["n_iter"], seed=seed)


def _means(x_ND: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    return np.stack([x_ND[labels == j].mean(axis=0) for j in range(k)])
