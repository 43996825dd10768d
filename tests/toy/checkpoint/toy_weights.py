"""One scale, learned from the data."""

import numpy as np

from tasks.artifacts import Checkpoint, Dataset, Network


def toy_weights(dataset: Dataset, *, power: float = 1.0) -> Checkpoint:
    scale = np.abs(dataset.arrays["points"]).mean() ** power
    return Checkpoint(networks={"scale": Network({"power": power}, {"scale": np.array([scale], np.float32)})})
