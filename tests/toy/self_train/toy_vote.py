"""Predict the pseudo-label, or its opposite with probability `flip`; may be slow, fail or be told to wait."""

import time

import numpy as np
import pandas as pd

from tasks import progress
from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.curves import curve_table


def toy_vote(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    *,
    flip: float = 0.0,
    seconds: float = 0.0,
    fail: bool = False,
    seed: int,
) -> Model:
    if fail:
        raise FloatingPointError("loss is nan at step 3; lower the rate")
    for step in range(10):
        time.sleep(seconds / 10)
        progress.report(step + 1, 10, loss=1.0 / (step + 1))
    prediction = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()
    flipped = np.random.default_rng(seed).random(len(prediction)) < flip
    table = pd.DataFrame(
        {"sample": np.arange(len(prediction)), "prediction": np.where(flipped, 1 - prediction, prediction)}
    )
    return Model({"predictions": table, "curves": curve_table("loss", range(1, 4), [1.0, 0.5, 0.25])})
