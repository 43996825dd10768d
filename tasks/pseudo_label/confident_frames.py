"""Teacher masks of every frame, and the frames whose masks are trusted.

Shape legend: F frames, H, W pixels.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels
from tasks.video.clips import clips_of, frames
from tasks.video.colour_model import centre_prior, colour_codes
from tasks.video.teacher_masks import best_frames, mean_nonzero, refined_likelihood, soft_masks

Share = Annotated[float, Field(ge=0, le=1)]


def confident_frames(
    dataset: Dataset,
    clusters: Clusters,
    *,
    keep: Annotated[float, Field(gt=0, le=1)] = 0.2,
    score: Literal["mean_nonzero", "random"] = "mean_nonzero",
    hysteresis: Annotated[list[Share], Field(min_length=2, max_length=2)] = [0.8, 0.5],  # noqa: B006  (never changed)
    likelihood_blur: Annotated[float, Field(ge=0)] = 0.0,
    max_per_clip: Annotated[int, Field(ge=1)] | None = None,
    refine: bool = False,
    seed: int,
) -> PseudoLabels:
    """VideoPCA's soft masks, and the best of them by a score that needs no label (Croitoru et al., ICCV 2017).

    Parameters
    ----------
    keep: share of the training frames that is selected, at least one; an empty mask never is.
    score: "mean_nonzero": mean of the mask's non-zero pixels, the highest first; "random": the baseline, as many
        non-empty masks drawn at random.
    hysteresis: [high, low] on likelihood x centre prior: regions above `low` that somewhere exceed `high` are kept.
    likelihood_blur: deviation in pixels of a blur of the likelihood.
    max_per_clip: at most that many selected frames of one clip; null: any number.
    refine: renew seeds and colour model from the masks once (the second step of HPP; the paper does without).

    Arrays: `masks` float16 [F, H, W] in 0..1, `score` float32 [F] (mean of the non-zero pixels, 0 for an empty mask) of all
    frames; `selected` bool [F], training frames only.

    Raises ValueError if every training mask is empty, or `hysteresis` is not [high, low].
    """
    high, low = hysteresis
    if high < low:
        raise ValueError(f"hysteresis: {hysteresis} must be [high, low]")
    if "foreground" not in clusters.arrays:
        raise ValueError("clusters: array 'foreground' is needed and absent; use step 'color_foreground_model'")
    likelihood = clusters.arrays["foreground"]
    size = [int(side) for side in likelihood.shape[1:]]
    prior_HW = centre_prior(size[0], size[1], clusters.meta["center_prior"])
    bins = clusters.meta["bins"]
    masks = np.zeros(likelihood.shape, dtype=np.float16)
    score_F = np.zeros(len(masks), dtype=np.float32)
    for rows in clips_of(dataset):
        likelihood_THW = np.asarray(likelihood[rows], dtype=np.float64)
        masks_THW = soft_masks(likelihood_THW, prior_HW, blur=likelihood_blur, high=high, low=low)
        if refine:
            codes_THW = colour_codes(frames(dataset, rows, size), (bins[0], bins[1], bins[2]))
            likelihood_THW = refined_likelihood(masks_THW, codes_THW, int(np.prod(bins)))
            masks_THW = soft_masks(likelihood_THW, prior_HW, blur=likelihood_blur, high=high, low=low)
        masks[rows], score_F[rows] = masks_THW, mean_nonzero(masks_THW)
    train = dataset.rows("train")
    if score == "random":
        order = np.random.default_rng(seed).permutation(len(train))
    else:
        order = np.argsort(-score_F[train], kind="stable")
    chosen = best_frames(score_F[train], np.asarray(dataset.arrays["clip"])[train], keep, max_per_clip, order)
    selected = np.zeros(len(masks), dtype=bool)
    selected[train] = chosen
    return PseudoLabels({}, {"masks": masks, "score": score_F, "selected": selected})
