"""Groups of columns that say the same thing."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.cluster.hierarchy import cut_tree, leaves_list, linkage
from sklearn.metrics import silhouette_score

from tasks.artifacts import Clusters, Representation


def feature_groups(
    representation: Representation,
    *,
    method: Literal["complete", "average", "single", "ward"] = "complete",
    min_clusters: Annotated[int, Field(ge=2)] = 3,
    max_clusters: Annotated[int, Field(ge=2)] = 99,
) -> Clusters:
    """Agglomerative clustering of the rows of 1 - S, S the scores of the features with each other, as the released code of
    OutRank (arXiv 2309.01552) draws them; the cut with the best silhouette is kept. Other than there, a feature's score with itself (its entropy,
    far above any other) is replaced by the largest score of a pair: it would set the features of many values apart.

    Parameters
    ----------
    method: linkage. min_clusters, max_clusters: cuts that are compared.

    Only features with pairwise scores are grouped (the others would be one false group); each of the rest is a group of
    its own. Table `units` (unit, cluster; groups numbered by their first feature), arrays `linkage` float64 [m - 1, 4] and
    `order` int64 [m]: paired features in the order of the dendrogram; meta `n_clusters`, `silhouette` (of the paired features).
    With fewer than `min_clusters` + 1 paired features each is a group of its own.

    Raises ValueError: `max_clusters` below `min_clusters`; no pairwise scores.
    """
    if max_clusters < min_clusters:
        raise ValueError(f"max_clusters = {max_clusters} is below min_clusters = {min_clusters}; raise it")
    if "paired" not in representation.arrays:
        raise ValueError("representation: no pairwise scores; use step 'feature_scores'")
    units = representation.tables["units"]
    paired = np.asarray(representation.arrays["paired"])
    label = np.arange(len(units), dtype=np.int64)
    meta: dict[str, float | int] = {}
    arrays = {}
    if len(paired) > min_clusters:
        score = np.array(representation.arrays["embedding"], dtype=np.float64)[np.ix_(paired, paired + 1)]
        np.fill_diagonal(score, -np.inf)
        np.fill_diagonal(score, score.max())
        rows = 1 - score
        tree = linkage(rows, method)
        best = (-2.0, label[:0])
        for count in range(min_clusters, min(max_clusters, len(paired) - 1) + 1):
            cut = cut_tree(tree, count)[:, 0]
            silhouette = float(silhouette_score(rows, cut))
            if silhouette > best[0]:  # ties: fewer groups
                best = (silhouette, cut)
        firsts = np.array([paired[(best[1] == group).argmax()] for group in range(int(best[1].max()) + 1)])
        label[paired] = firsts[best[1]]
        meta["silhouette"] = best[0]
        arrays = {"linkage": tree, "order": paired[leaves_list(tree)].astype(np.int64)}
    label = np.unique(label, return_inverse=True)[1].astype(np.int64)
    meta["n_clusters"] = int(label.max()) + 1
    return Clusters({"units": units[["unit"]].assign(cluster=label)}, arrays, meta=meta)
