"""Clips of a data set: which frames belong together, and their pixels.

Shape legend: T frames of a clip, H, W pixels.
"""

from __future__ import annotations

import numpy as np

from tasks.artifacts import Dataset
from tasks.vision.image_files import ImageSize, height_width, resize_images


def clips_of(dataset: Dataset) -> list[np.ndarray]:
    """Rows int64 [T] of every clip, in the order of the data set; clips in the order of their first frame.

    Raises ValueError if the data set has no clips, a clip lies in two splits, or the frames are not colour images.
    """
    if "clip" not in dataset.arrays:
        raise ValueError("dataset: array 'clip' is needed and absent; use 'moving_objects' or 'video_folder'")
    images = dataset.arrays["images"]
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"dataset: images {images.shape} are not colour frames [n, height, width, 3]; read them in colour"
        )
    clip = np.asarray(dataset.arrays["clip"])
    split = dataset.samples["split"].to_numpy()
    _, first = np.unique(clip, return_index=True)
    clips = [np.flatnonzero(clip == clip[row]) for row in np.sort(first)]
    for rows in clips:
        if len(set(split[rows])) > 1:
            raise ValueError(
                f"dataset: clip {clip[rows[0]]} lies in splits {', '.join(sorted(set(split[rows])))}; "
                "neighbouring frames are near duplicates, so split by clip"
            )
    return clips


def frames(dataset: Dataset, rows: np.ndarray, size: ImageSize | None = None) -> np.ndarray:
    """Frames float32 [T, H, W, 3] in 0..1, stretched to `size` if given."""
    images = np.asarray(dataset.arrays["images"][rows])
    if size is not None and images.shape[1:3] != height_width(size):
        images = resize_images(images, size)
    return images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
