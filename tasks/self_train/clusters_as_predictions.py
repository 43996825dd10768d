"""No training: the clusters are the predictions. The standing arm that says what self-training adds."""

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Dataset, Model, Representation


def clusters_as_predictions(dataset: Dataset, representation: Representation, clusters: Clusters) -> Model:
    """Table `predictions` (sample, prediction = its cluster) and `embedding` float32 [n, d], the representation as it is.

    Raises ValueError: not one unit per sample, a unit without a cluster.
    """
    units = clusters.tables["units"]
    if not np.array_equal(units["sample"].to_numpy(), np.arange(len(dataset.samples))):
        raise ValueError(f"clusters: {len(units)} units for {len(dataset.samples)} samples, not one each")
    cluster = units["cluster"].to_numpy()
    if (cluster < 0).any():
        raise ValueError(f"clusters: {int((cluster < 0).sum())} units have no cluster; every one needs one")
    return Model(
        {"predictions": pd.DataFrame({"sample": units["sample"], "prediction": cluster})},
        {"embedding": np.array(representation.arrays["embedding"])},
    )
