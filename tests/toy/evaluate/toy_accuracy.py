"""Accuracy on the test split."""

import numpy as np

from tasks.artifacts import Dataset, Metrics, Model
from tasks.figures import png, subplots

METRICS = {"accuracy": "share of test samples predicted right, 0..1, higher is better"}


def toy_accuracy(dataset: Dataset, model: Model) -> Metrics:
    rows = dataset.rows("test")
    right = model.tables["predictions"]["prediction"].to_numpy()[rows] == dataset.labels("label", rows)
    figure, axis = subplots(figsize=(2, 2))
    axis.hist(np.asarray(right, dtype=float))
    return Metrics(meta={"values": {"accuracy": float(right.mean())}}, figures={"hits": png(figure)})
