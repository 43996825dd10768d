"""Points divided by the checkpoint's scale."""

import numpy as np
import pandas as pd

from tasks.artifacts import Checkpoint, Dataset, Representation


def toy_scaled(dataset: Dataset, checkpoint: Checkpoint, *, power: float = 1.0) -> Representation:
    n = len(dataset.samples)
    embedding = dataset.arrays["points"] / checkpoint.networks["scale"].state["scale"] ** power
    units = pd.DataFrame({"unit": np.arange(n), "sample": np.arange(n)})
    return Representation({"units": units}, {"embedding": embedding.astype(np.float32)})
