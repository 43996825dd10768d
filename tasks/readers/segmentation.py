"""Images with per-pixel truth as one data set.

Shape legend: n images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset
from tasks.vision.image_files import VOID, Fit, ImageSize, fit_map, fit_picture, open_picture, stack_pictures

MOST_CLASSES = VOID
# (row of the file list, (H, W) of its image) -> semantic [H, W] with VOID, instance [H, W] (0: none) or None.
TruthOf = Callable[[int, tuple[int, int]], tuple[np.ndarray, np.ndarray | None]]


def segmentation_dataset(
    samples: pd.DataFrame,
    files: Sequence[Path],
    truth_of: TruthOf,
    *,
    class_names: list[str],
    thing_classes: list[int],
    size: ImageSize | None,
    fit: Fit,
    grey: bool = False,
) -> Dataset:
    """`images` uint8 [n, H, W, C] with the truth `semantic` int16 [n, H, W] and, if given, `instance` int16 [n, H, W].

    Truth is fetched at each image's own size and brought to `size` with it, nearest neighbour. Void pixels
    are 255 in `semantic` and 0 in `instance`; objects are numbered from 1 within their image.
    """
    semantic: list[np.ndarray] = []
    instance: list[np.ndarray] = []

    def pictures():
        for index, file in enumerate(files):
            image = open_picture(file, grey)
            classes, objects = truth_of(index, (image.height, image.width))
            semantic.append(fit_map(classes, size, fit, VOID).astype(np.int16))
            if objects is not None:
                instance.append(fit_map(objects, size, fit, 0).astype(np.int16))
            yield fit_picture(image, size, fit)

    images = stack_pictures(files, pictures())
    arrays = {"images": images, "semantic": np.stack(semantic)}
    if instance:
        arrays["instance"] = np.stack(instance)
    truth = sorted(set(arrays) - {"images"})
    meta = {"class_names": class_names, "thing_classes": thing_classes, "truth": truth}
    return Dataset({"samples": samples}, arrays, meta=meta)


def check_map_size(shape: tuple[int, ...], image_size: tuple[int, int], map_file: object) -> None:
    """ValueError naming `map_file` unless its (H, W) is that of its image."""
    if tuple(shape) != tuple(image_size):
        raise ValueError(
            f"path: {map_file} is {shape[1]}x{shape[0]} but its image is {image_size[1]}x{image_size[0]}; "
            "restore the pair at one size"
        )
