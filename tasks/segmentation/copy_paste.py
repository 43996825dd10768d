"""Copy-paste augmentation on label maps: objects of one image put, smaller, into another.

Shape legend: B images, H, W pixels.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field


class CopyPaste(BaseModel):
    """`rate`: probability that an image receives objects; `scale`: range of the factor by which they shrink."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    scale: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] = [0.3, 1.0]


@dataclass(frozen=True)
class Batch:
    """`images_BHWC` float32 0..1; `instance_BHW` int32 (0 none, else unique in its image); `category_BHW` int64
    (thing cluster of the instance, -1 none); `semantic_BHW` uint8 (0 thing, s + 1 stuff, 255 ignored)."""

    images_BHWC: np.ndarray
    instance_BHW: np.ndarray
    category_BHW: np.ndarray
    semantic_BHW: np.ndarray


def copy_paste(batch: Batch, settings: CopyPaste, rng: np.random.Generator) -> Batch:
    """A copy of the batch in which images received objects of another image (CutLER, CVPR 2023, section 3.3).

    From another image of the batch 1..n-1 of its n instances (1 of 1) are drawn, the whole image is resized by
    a factor from `scale` and shifted within the frame. Of the drawn instances remain those that hide less than half
    of every existing one. Their pixels replace the image, leave the masks of existing instances, and become
    thing in the semantic target; an instance without pixels disappears, and boxes and centres are to be taken from the
    masks afterwards. Sources are the images as they were before any paste.
    """
    result = Batch(
        *(np.array(a) for a in (batch.images_BHWC, batch.instance_BHW, batch.category_BHW, batch.semantic_BHW))
    )
    size = len(batch.images_BHWC)
    for target in range(size):
        if size < 2 or rng.random() >= settings.rate:
            continue
        source = (target + 1 + int(rng.integers(size - 1))) % size
        numbers = np.unique(batch.instance_BHW[source])
        numbers = numbers[numbers > 0]
        if len(numbers) == 0:
            continue
        count = int(rng.integers(1, max(len(numbers), 2)))
        chosen = rng.choice(numbers, count, replace=False)
        _paste(result, target, batch, source, chosen, rng.uniform(settings.scale[0], settings.scale[1]), rng)
    return result


def _paste(
    result: Batch, target: int, batch: Batch, source: int, chosen: np.ndarray, factor: float, rng: np.random.Generator
) -> None:
    height, width = batch.instance_BHW.shape[1:]
    small_h, small_w = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = int(rng.integers(height - small_h + 1)), int(rng.integers(width - small_w + 1))
    rows = np.minimum(((np.arange(small_h) + 0.5) * height / small_h).astype(int), height - 1)
    columns = np.minimum(((np.arange(small_w) + 0.5) * width / small_w).astype(int), width - 1)
    small_ids = batch.instance_BHW[source][rows[:, None], columns]
    window = (target, slice(top, top + small_h), slice(left, left + small_w))
    existing_HW = np.array(result.instance_BHW[target])
    pasted = np.zeros_like(small_ids)
    for number in chosen:
        piece = small_ids == number
        if piece.any() and hides_less_than_half(piece, existing_HW, existing_HW[window[1:]]):
            pasted[piece] = number
    if not pasted.any():
        return
    inside = pasted > 0
    image = torch.from_numpy(batch.images_BHWC[source]).permute(2, 0, 1)[None]
    image = torch.nn.functional.interpolate(
        image, (small_h, small_w), mode="bilinear", align_corners=False, antialias=True
    )
    result.images_BHWC[window][inside] = image[0].permute(1, 2, 0).numpy()[inside]
    # New numbers start above those of the receiving image, so that two instances never share one.
    result.instance_BHW[window][inside] = pasted[inside] + existing_HW.max()
    result.category_BHW[window][inside] = batch.category_BHW[source][rows[:, None], columns][inside]
    result.semantic_BHW[window][inside] = 0


def hides_less_than_half(piece_hw: np.ndarray, existing_HW: np.ndarray, beneath_hw: np.ndarray) -> bool:
    """Whether a pasted piece covers under half of every instance beneath it."""
    numbers, covered = np.unique(beneath_hw[piece_hw], return_counts=True)
    return all(c < 0.5 * (existing_HW == n).sum() for n, c in zip(numbers, covered, strict=True) if n > 0)
