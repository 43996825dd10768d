"""No training: every unit goes to its nearest centroid."""

from typing import Literal

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Model, Representation
from tasks.vectors import cosine


def nearest_centroid(
    representation: Representation, clusters: Clusters, *, metric: Literal["cosine", "euclidean"] = "cosine"
) -> Model:
    """Nearest-centroid (Rocchio) classification: what Lbl2Vec (Schopf et al., WEBIST 2021, arXiv 2210.06023) predicts with.

    metric: `cosine`, or `euclidean`, whose similarity is the distance with a minus sign.

    Returns `similarity` float32 [units, clusters], table `predictions` (sample, prediction = the most similar cluster,
    the first of equals) if there are two clusters or more; meta `topics` if the clusters have names.
    """
    embedding_UD = np.array(representation.arrays["embedding"], dtype=np.float64)
    centroids_CD = np.array(clusters.arrays["centroids"], dtype=np.float64)
    if metric == "cosine":
        similarity_UC = cosine(embedding_UD, centroids_CD)
    else:
        # Centroid by centroid: all differences at once would take units x clusters x dimensions of memory.
        similarity_UC = np.stack(
            [-np.linalg.norm(embedding_UD - centroid, axis=1) for centroid in centroids_CD], axis=1
        )
    sample = representation.tables["units"]["sample"]
    tables = {}
    if len(centroids_CD) > 1:
        prediction = similarity_UC.argmax(axis=1).astype(np.int64)
        tables["predictions"] = pd.DataFrame({"sample": sample, "prediction": prediction})
    return Model(tables, {"similarity": similarity_UC.astype(np.float32)}, meta={"topics": clusters.meta.get("topics")})
