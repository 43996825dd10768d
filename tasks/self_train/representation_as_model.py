"""No training: the pretrained representation is the model. The standing arm that says what self-training adds."""

import numpy as np

from tasks.artifacts import Dataset, Model, Representation


def representation_as_model(dataset: Dataset, representation: Representation) -> Model:
    """Array `embedding` float32 [n, d]: the representation, which must have one unit per sample, in order.

    Raises ValueError if it has other units (patches, points ...).
    """
    sample = representation.tables["units"]["sample"].to_numpy()
    if not np.array_equal(sample, np.arange(len(dataset.samples))):
        raise ValueError(
            f"representation: {len(sample)} units for {len(dataset.samples)} samples; "
            "representation_as_model needs exactly one unit per sample"
        )
    return Model(arrays={"embedding": np.array(representation.arrays["embedding"])})
