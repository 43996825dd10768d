"""No training: an array of the data set is the representation. The standing arm that says what pretraining adds."""

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset, Representation
from tasks.discovery.known_and_novel import table_of


def array_as_representation(dataset: Dataset, *, array: str = "features") -> Representation:
    """Array `embedding` float32 [n, d]: an array of the data set as it is, flattened, one unit per sample.

    array: name of the array, which must have one entry per sample.

    Raises ValueError: no such array, another number of entries, NaN or infinite values.
    """
    unit = np.arange(len(dataset.samples), dtype=np.int64)
    return Representation(
        {"units": pd.DataFrame({"unit": unit, "sample": unit})}, {"embedding": table_of(dataset, array)}
    )
