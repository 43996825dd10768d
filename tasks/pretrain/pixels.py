"""No training: the pixels are the features. The baseline that says what a representation adds."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset, Representation
from tasks.nn.encoder import image_tensor
from tasks.vision.unlabeled_subset import subset_rows


def pixels(dataset: Dataset, *, train_images: Annotated[int, Field(ge=1)] | None = None, seed: int) -> Representation:
    """`embedding` float32 [U, H W C]: images in 0..1, flattened, one unit per image of the splits train and test.

    train_images: so many images of split train, drawn by the seed; default all.

    Raises ValueError: no images, fewer in train than asked for.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    rows = subset_rows(dataset, train_images, seed)
    units = pd.DataFrame({"unit": np.arange(len(rows), dtype=np.int64), "sample": rows})
    return Representation(
        {"units": units}, {"embedding": image_tensor(dataset.arrays["images"][rows]).flatten(1).numpy()}
    )
