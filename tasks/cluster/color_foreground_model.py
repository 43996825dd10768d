"""Two clusters of pixels per clip, foreground and background, told by colour and seeded by motion.

Shape legend: F frames, H, W pixels, n clips, B colour bins.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks import progress
from tasks.artifacts import Clusters, Dataset, Representation
from tasks.video.clips import clips_of, frames
from tasks.video.colour_model import (
    centre_prior,
    colour_codes,
    foreground_likelihood,
    motion_seeds,
    seeded_histograms,
)

Bins = Annotated[int, Field(ge=2)]


def color_foreground_model(
    dataset: Dataset,
    representation: Representation,
    *,
    bins: Annotated[list[Bins], Field(min_length=3, max_length=3)],
    seed_blur: Annotated[float, Field(ge=0)],
    center_prior: Annotated[float, Field(gt=0)] = 0.333,
) -> Clusters:
    """Seeds and colour model of VideoPCA (Stretcu & Leordeanu, BMVC 2015): one model per clip, all frames together.

    Parameters
    ----------
    bins: numbers of bins for s cos(hue), s sin(hue) and the value.
    seed_blur: deviation in pixels (of the residual maps) of the blur before seeds are taken.
    center_prior: deviation of the centred Gaussian that weighs the seeds, in shares of the shorter side.

    Arrays: `foreground` float16 [F, H, W], the membership in the foreground cluster (that in the background is
    1 - it); `seeds` bool [F, H, W]; `histograms` float32 [n, 2, B], background and foreground of each clip (the two
    "centroids"), with `clips` int64 [n]; meta `center_prior`, `bins`, which the masks need again.

    Raises ValueError if the representation has no residual maps.
    """
    if "residual" not in representation.arrays:
        raise ValueError("representation: array 'residual' is needed and absent; use step 'video_pca'")
    residual = representation.arrays["residual"]
    size = [int(side) for side in residual.shape[1:]]
    prior_HW = centre_prior(size[0], size[1], center_prior)
    clips, total = clips_of(dataset), int(np.prod(bins))
    foreground = np.zeros(residual.shape, dtype=np.float16)
    seeds = np.zeros(residual.shape, dtype=bool)
    histograms = np.zeros((len(clips), 2, total), dtype=np.float32)
    for done, rows in enumerate(clips):
        codes_THW = colour_codes(frames(dataset, rows, size), (bins[0], bins[1], bins[2]))
        seeds[rows] = motion_seeds(np.asarray(residual[rows], dtype=np.float64), seed_blur, prior_HW)
        inside_B, outside_B = seeded_histograms(codes_THW, seeds[rows], total)
        foreground[rows] = foreground_likelihood(codes_THW, inside_B, outside_B)
        histograms[done] = outside_B, inside_B
        progress.report(done + 1, len(clips))
    arrays = {
        "foreground": foreground,
        "seeds": seeds,
        "histograms": histograms,
        "clips": np.array([dataset.arrays["clip"][rows[0]] for rows in clips], dtype=np.int64),
    }
    return Clusters({}, arrays, meta={"center_prior": center_prior, "bins": list(bins)})
