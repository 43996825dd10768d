"""A quadratic rule that carries cluster labels over to points that were not clustered.

Shape legend: n kept units, p dimensions, K groups.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Model, Network, PseudoLabels, Representation
from tasks.clustering.gaussian_mixture import log_densities


def gaussian_discriminant(
    representation: Representation,
    pseudo_labels: PseudoLabels,
    *,
    reg_param: Annotated[float, Field(ge=0, lt=1)] = 0.01,
) -> Model:
    """argmin_k (x - mu_k)' Sigma_k^-1 (x - mu_k) + log det Sigma_k from the pseudo-labelled units: quadratic
    discriminant analysis with equal priors. It makes clusterings of few points usable for many.

    reg_param: Sigma_k becomes (1 - reg_param) Sigma_k + reg_param I, in the units of the embedding, as scikit-learn has it
        (whose own class refuses a group of no more units than dimensions even so).

    Returns table `predictions` (sample, prediction) of all units; network `rule` (`means` [K, p], `covariances` [K, p, p],
    `groups` int64 [K]: the cluster of each row).

    A group of one unit has the covariance reg_param I.

    Raises ValueError: fewer than two groups; a singular covariance.
    """
    label = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()
    x_np = np.array(representation.arrays["embedding"], dtype=np.float64)
    kept = np.flatnonzero(label >= 0)
    groups = np.unique(label[kept])
    if len(groups) < 2:
        raise ValueError(f"pseudo_labels: {len(groups)} groups have labels, 2 are needed; lower 'threshold'")
    members = [x_np[label == group] for group in groups]
    mean_Kp = np.stack([x.mean(axis=0) for x in members])
    sample_Kpp = np.stack([(x - x.mean(axis=0)).T @ (x - x.mean(axis=0)) / max(len(x) - 1, 1) for x in members])
    covariance_Kpp = (1 - reg_param) * sample_Kpp + reg_param * np.eye(x_np.shape[1])
    try:
        best = log_densities(x_np, mean_Kp, covariance_Kpp).argmax(axis=1)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"reg_param = {reg_param}: the covariance of a group is singular; raise it") from error
    predictions = pd.DataFrame(
        {"sample": representation.tables["units"]["sample"], "prediction": groups[best].astype(np.int64)}
    )
    state = {"means": mean_Kp, "covariances": covariance_Kpp, "groups": groups.astype(np.int64)}
    return Model({"predictions": predictions}, networks={"rule": Network({"reg_param": reg_param}, state)})
