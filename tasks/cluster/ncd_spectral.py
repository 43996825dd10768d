"""Spectral clustering of novel rows together with the known ones."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.kmeans import fit_kmeans
from tasks.clustering.ncd_kmeans import fit_ncd_kmeans
from tasks.clustering.spectral_embedding import spectral_embedding
from tasks.discovery.hidden_classes import Candidate, Tuning, search
from tasks.discovery.known_and_novel import check_number, class_means, known_classes, novel_rows, space_of
from tasks.discovery.novel_clusters import novel_clusters
from tasks.metrics.clustering import clustering_accuracy

Count = Annotated[int, Field(ge=1)]
Assign = Literal["kmeans", "ncd_kmeans"]


def ncd_spectral(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Count,
    min_dist: Annotated[float, Field(gt=0, lt=1)],
    n_components: Count,
    assign: Assign = "kmeans",
    n_init: Count = 10,
    n_iter: Count = 50,
    fit_on: Literal["train", "test"] = "train",
    array: str = "embedding",
    tune: Tuning | None = None,
    seed: int,
) -> Clusters:
    """NCD spectral clustering of Troisemaine et al. (arXiv 2311.05440): one graph of novel and known rows.

    Parameters
    ----------
    k: number of novel classes.
    min_dist: delta; the weakest edge of the minimum spanning tree gets the weight sqrt(delta).
    n_components: eigenvectors of the symmetric Laplacian that are kept, from the second on.
    assign: cluster the novel rows of the eigenvectors by k-means, or by NCD k-means beside the known class means.
    n_init, n_iter: starts and most iterations of either. array: array of the representation.
    fit_on: novel rows of `train` or of `test`; the known ones are those of `train`.
    tune: choose min_dist (0..1, evenly) and n_components (2..50, evenly) by random search, hiding known classes.

    Memory and time grow with the square and the cube of the rows. Returns cluster int64 of the novel rows, -1 of all
    others; meta `n_clusters`, `array`, and if tuned `tuned`; curve `tuning_by_trial`.

    Raises ValueError: fewer than two known classes, no novel rows, novel rows all identical or fewer than k,
    n_components above the rows less one; with `tune` fewer than four known classes.
    """
    known, rows = known_classes(dataset), novel_rows(dataset, fit_on)
    x_ND = space_of(dataset, representation, array)
    check_number(k, x_ND[rows])
    fit_stream, tune_stream = np.random.SeedSequence(seed).spawn(2)

    def clustered(novel: np.ndarray, others: np.ndarray, index: np.ndarray, k: int, candidate: Candidate, seed: int):
        both = x_ND[np.concatenate([novel, others])]
        embedded = spectral_embedding(both, **candidate)
        novel_NE, known_ME = embedded[: len(novel)], embedded[len(novel) :]
        if assign == "kmeans":
            return fit_kmeans(novel_NE, k, n_init=n_init, n_iter=n_iter, seed=seed).labels
        means_CE = class_means(known_ME, index, int(index.max()) + 1)
        return fit_ncd_kmeans(novel_NE, means_CE, k, n_init=n_init, n_iter=n_iter, seed=seed).labels

    def score(candidate: Candidate, hidden: np.ndarray, stream: np.random.SeedSequence) -> float:
        is_hidden = np.isin(known.index, hidden)
        stays = np.unique(known.index[~is_hidden], return_inverse=True)[1]
        novel, others = known.rows[is_hidden], known.rows[~is_hidden]
        found = clustered(novel, others, stays, len(hidden), candidate, int(stream.generate_state(1)[0]))
        return clustering_accuracy(found, known.index[is_hidden])

    def draw(rng: np.random.Generator) -> Candidate:
        most = min(50, len(known.rows) - 1)
        return {"min_dist": float(rng.uniform(1e-6, 1)), "n_components": int(rng.integers(2, most + 1))}

    candidate: Candidate = {"min_dist": min_dist, "n_components": n_components}
    curves: list[pd.DataFrame] = []
    if tune is not None:
        candidate, curve = search(tune, len(known.classes), draw, score, tune_stream)
        curves = [curve]
    labels = clustered(rows, known.rows, known.index, k, candidate, int(fit_stream.generate_state(1)[0]))
    result = novel_clusters(representation.tables["units"], rows, labels, array=array, curves=curves)
    result.meta["n_clusters"] = k
    if tune is not None:
        result.meta["tuned"] = candidate
    return result
