"""Several random crops of each image, of one or more sizes, each augmented on its own.

Shape legend: B batch, H, W pixels, S side of a crop, C channels.
"""

from __future__ import annotations

import math
from typing import Annotated

import kornia.augmentation as K
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import affine_grid, grid_sample

from tasks.vision.augmentation import Augmentation, augment

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

_ASPECT = 4 / 3


class Crops(BaseModel):
    """`n` crops of `size` x `size` pixels that show a share of the image's area in `scale`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    n: Annotated[int, Field(ge=1)]
    size: Annotated[int, Field(ge=1)]
    scale: Annotated[list[Share], Field(min_length=2, max_length=2)]


class Blur(BaseModel):
    """Gaussian blur with a standard deviation in `radius` pixels, applied with `probability`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    radius: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [0.1, 2.0]
    probability: Share = 0.5


def crop_views(
    images_BHWC: torch.Tensor,
    crops: list[Crops],
    augmentation: Augmentation,
    blur: Blur | None,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """One [B, S, S, C] for every crop, in the order of `crops`; all randomness comes from `generator`."""
    views = []
    for group in crops:
        for _ in range(group.n):
            view = resized_crop(images_BHWC, group.size, group.scale, generator)
            view = augment(view, augmentation, generator)
            views.append(view if blur is None else blurred(view, blur, generator))
    return views


def resized_crop(images_BHWC: torch.Tensor, size: int, scale: list[float], generator: torch.Generator) -> torch.Tensor:
    """One crop per image [B, S, S, C], bilinear: a share of the area in `scale`, aspect ratio 3/4 to 4/3, anywhere."""
    batch, height, width, channels = images_BHWC.shape
    draw = torch.rand(batch, 4, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * draw[:, 0]
    aspect = torch.exp((2 * draw[:, 1] - 1) * math.log(_ASPECT))
    # Sides as shares of the image's sides; the aspect ratio is one of pixels, and a crop never leaves the image.
    share_x = (area * aspect * height / width).sqrt().clamp(max=1)
    share_y = (area / aspect * width / height).sqrt().clamp(max=1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = share_x, share_y
    theta[:, 0, 2] = (2 * draw[:, 2] - 1) * (1 - share_x)
    theta[:, 1, 2] = (2 * draw[:, 3] - 1) * (1 - share_y)
    grid = affine_grid(theta, [batch, channels, size, size], align_corners=False)
    crops = grid_sample(images_BHWC.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
    return crops.permute(0, 2, 3, 1).contiguous()


def blurred(images_BHWC: torch.Tensor, blur: Blur, generator: torch.Generator) -> torch.Tensor:
    """Each image blurred, or not, with a deviation of its own."""
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    low, high = blur.radius
    reach = 2 * math.ceil(3 * high) + 1
    layer = K.RandomGaussianBlur((reach, reach), (low, high), border_type="replicate", p=blur.probability)
    # kornia draws from torch's global state; fork it so that callers never notice.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return layer(images_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
