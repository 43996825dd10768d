"""Principal components of every clip as a model of its background.

Shape legend: F frames, H, W pixels, k components.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset, Representation
from tasks.video.background import Centre, normalise, pca_residual
from tasks.video.clips import clips_of, frames
from tasks.vision.image_files import ImageSize, height_width


def video_pca(
    dataset: Dataset,
    *,
    components: Annotated[int, Field(ge=1)] = 3,
    center: Centre = "mean_frame",
    image_size: ImageSize | None = None,
) -> Representation:
    """VideoPCA (Stretcu & Leordeanu, BMVC 2015): each clip in its leading components, and what they leave unexplained.

    Parameters
    ----------
    components: principal components that model the background; a clip needs at least two frames more.
    center: "mean_frame" of the clip is subtracted; "frame_scalar": each frame's own mean value, as the published
        re-coding of the method does.
    image_size: side, or [height, width], to which frames are brought; null: as they are.

    Units are the frames, in order. `embedding` float32 [F, k]: a frame's coefficients in its clip; `residual` float16
    [F, H, W]: norm over colours of frame - reconstruction, stretched to 0..1 over the clip. A clip's components are not
    kept: they are the frames' own combination.

    Raises ValueError for clips that are too short, without clips in the data set, or for frames without three channels.
    """
    clips, total = clips_of(dataset), len(dataset.samples)
    height, width = dataset.arrays["images"].shape[1:3] if image_size is None else height_width(image_size)
    embedding = np.zeros((total, components), dtype=np.float32)
    residual = np.zeros((total, height, width), dtype=np.float16)
    for done, rows in enumerate(clips):
        try:
            coefficients_Tk, residual_THW = pca_residual(frames(dataset, rows, image_size), components, center)
        except ValueError as error:
            raise ValueError(f"{error} (clip {dataset.arrays['clip'][rows[0]]})") from error
        embedding[rows], residual[rows] = coefficients_Tk, normalise(residual_THW)
        progress.report(done + 1, len(clips))
    units = pd.DataFrame({"unit": np.arange(total), "sample": np.arange(total)})
    return Representation({"units": units}, {"embedding": embedding, "residual": residual})
