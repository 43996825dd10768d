"""A linear classifier on frozen features, from few labels."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Model, Representation


def linear_classifier(
    dataset: Dataset,
    representation: Representation,
    *,
    labels_per_class: Annotated[int, Field(ge=1)] | None = None,
    regularization: Annotated[float, Field(gt=0)] = 1.0,
    seed: int,
) -> Model:
    """Multinomial logistic regression by L-BFGS on the labels that the setting grants (`given_label`).

    Features are standardised by all rows of split train, which needs no label.

    Parameters
    ----------
    labels_per_class: at most that many of the granted labels of each class, drawn at random; default all.
    regularization: inverse penalty C.

    Returns table `predictions` (sample, prediction) of all samples and `embedding` float32 [n, d], as it was.

    Raises ValueError: not one unit per sample, no label of two classes granted.
    """
    sample = representation.tables["units"]["sample"].to_numpy()
    if not np.array_equal(sample, np.arange(len(dataset.samples))):
        raise ValueError(f"representation: {len(sample)} units for {len(dataset.samples)} samples, not one each")
    embedding_nd = np.array(representation.arrays["embedding"])
    given = dataset.samples.get("given_label")
    rows = np.array([], dtype=np.int64) if given is None else np.flatnonzero(given.notna().to_numpy())
    label = dataset.labels("given_label", rows) if len(rows) else rows
    if len(np.unique(label)) < 2:
        raise ValueError("dataset: labels of at least two classes must be granted; set 'labels_per_class' or 'grant'")
    if labels_per_class is not None:
        shuffled = np.random.default_rng(seed).permutation(len(rows))
        chosen = np.concatenate([shuffled[label[shuffled] == c][:labels_per_class] for c in np.unique(label)])
        rows, label = rows[chosen], label[chosen]
    scaler = StandardScaler().fit(embedding_nd[dataset.rows("train")].astype(np.float64))
    x_nd = scaler.transform(embedding_nd.astype(np.float64))
    prediction = LogisticRegression(C=regularization, max_iter=5000).fit(x_nd[rows], label).predict(x_nd)
    return Model(
        {"predictions": pd.DataFrame({"sample": sample, "prediction": prediction.astype(np.int64)})},
        {"embedding": embedding_nd},
        meta={"labels": len(rows)},
    )
