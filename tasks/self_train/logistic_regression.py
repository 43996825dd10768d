"""A linear classifier on pseudo-labels."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Model, PseudoLabels, Representation


def logistic_regression(
    dataset: Dataset,
    representation: Representation,
    pseudo_labels: PseudoLabels,
    *,
    regularization: Annotated[float, Field(gt=0)] = 1.0,
) -> Model:
    """Multinomial logistic regression by L-BFGS on standardised features, trained on the pseudo-labels of split train.

    regularization: inverse penalty C. Each unit counts with its `weight`, if the pseudo-labels have one.

    Returns `similarity` float32 [units, clusters] (probabilities; 0 for a cluster without pseudo-labels), table
    `predictions` (sample, prediction), `coefficients` float32 [clusters, d] and `intercepts` float32 [clusters] on
    the features as they are (0 for such a cluster).

    Raises ValueError: pseudo-labels of fewer than two clusters in train.
    """
    units = representation.tables["units"]
    x_UD = np.array(representation.arrays["embedding"], dtype=np.float64)
    label = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()
    rows = np.flatnonzero((label >= 0) & np.isin(units["sample"].to_numpy(), dataset.rows("train")))
    present = np.unique(label[rows])
    if len(present) < 2:
        raise ValueError(
            f"pseudo_labels: {len(present)} cluster has pseudo-labels in train, two are needed; admit more of them"
        )
    weight = np.asarray(pseudo_labels.arrays["weight"])[rows] if "weight" in pseudo_labels.arrays else None
    scaler = StandardScaler().fit(x_UD[rows])
    fit = LogisticRegression(C=regularization, max_iter=5000).fit(scaler.transform(x_UD[rows]), label[rows], weight)
    clusters = int(pseudo_labels.meta["n_clusters"])
    probability_UC = np.zeros((len(units), clusters))
    probability_UC[:, present] = fit.predict_proba(scaler.transform(x_UD))
    # Two classes share one row of coefficients.
    rows_KD, offset_K = fit.coef_, fit.intercept_
    if len(present) == 2:
        rows_KD, offset_K = np.concatenate([-rows_KD, rows_KD]), np.concatenate([-offset_K, offset_K])
    scale_D = np.where(scaler.scale_ > 0, scaler.scale_, 1.0)  # pyright: ignore[reportArgumentType, reportCallIssue, reportOperatorIssue]
    coefficients_CD, intercepts_C = np.zeros((clusters, x_UD.shape[1])), np.zeros(clusters)
    coefficients_CD[present] = rows_KD / scale_D
    intercepts_C[present] = offset_K - coefficients_CD[present] @ scaler.mean_  # pyright: ignore[reportOperatorIssue]
    prediction = probability_UC.argmax(axis=1).astype(np.int64)
    return Model(
        {"predictions": pd.DataFrame({"sample": units["sample"], "prediction": prediction})},
        {
            "similarity": probability_UC.astype(np.float32),
            "coefficients": coefficients_CD.astype(np.float32),
            "intercepts": intercepts_C.astype(np.float32),
        },
        meta={"topics": pseudo_labels.meta.get("topics")},
    )
