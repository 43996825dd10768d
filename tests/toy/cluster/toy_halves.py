"""Units left and right of the mean, with noise that shows the seed."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Representation


def toy_halves(
    representation: Representation, *, k: Annotated[int, Field(ge=2)] = 2, jitter: float = 0.0, seed: int
) -> Clusters:
    x = representation.arrays["embedding"][:, 0]
    noise = np.random.default_rng(seed).normal(size=len(x)) * jitter
    cluster = (x + noise > x.mean()).astype(np.int64) % k
    return Clusters({"units": pd.DataFrame({"unit": np.arange(len(x)), "cluster": cluster})})
