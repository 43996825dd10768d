"""The truth that segmentation is scored against.

Shape legend: T images, H, W pixels.
"""

from dataclasses import dataclass

import numpy as np

from tasks.artifacts import Dataset


@dataclass(frozen=True)
class Truth:
    """The truth of some images: `semantic` [T, H, W] (255, or anything beyond the classes: void) and `instance`
    [T, H, W] (0: none) or None; `classes`: how many there are; `things`: those with countable objects."""

    semantic: np.ndarray
    instance: np.ndarray | None
    classes: int
    things: list[int]


def truth_of(dataset: Dataset, rows: np.ndarray) -> Truth:
    """The truth of samples `rows`; ValueError if there is no truth array `semantic`."""
    if "semantic" not in dataset.arrays:
        raise ValueError("dataset: truth array 'semantic' is needed and absent; use a data set with segmentation truth")
    instance = dataset.arrays.get("instance")
    return Truth(
        np.asarray(dataset.arrays["semantic"][rows]),
        np.asarray(instance[rows]) if instance is not None else None,
        len(dataset.meta["class_names"]),
        list(dataset.meta.get("thing_classes", [])),
    )
