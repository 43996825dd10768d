"""Random resized crops of a batch by bilinear sampling, drawn from a given generator.

Shape legend: B batch, C channels, H, W pixels, S side of the crop.
"""

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

_ASPECT = 4 / 3


def random_crops(
    images_BCHW: torch.Tensor, size: int, scale: list[float], jitter: float, generator: torch.Generator
) -> torch.Tensor:
    """One crop per image [B, C, S, S]: share of the area in `scale`, aspect ratio 3/4-4/3, mirrored half of the time.

    Each crop is multiplied by one factor (brightness) and by one per channel, all in 1 +- `jitter`, and clipped to
    0..1. `generator` lives on the CPU, so that every device gets the same crops.
    """
    batch, channels, height, width = images_BCHW.shape
    draw = torch.rand(batch, 6 + channels, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * draw[:, 0]
    aspect = torch.exp((2 * draw[:, 1] - 1) * math.log(_ASPECT))
    # Sides as a share of the image's: `aspect` is in pixels, and a crop never leaves the image.
    share_x = (area * aspect * height / width).sqrt().clamp(max=1)
    share_y = (area / aspect * width / height).sqrt().clamp(max=1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = torch.where(draw[:, 2] < 0.5, -share_x, share_x)
    theta[:, 1, 1] = share_y
    theta[:, 0, 2] = (2 * draw[:, 3] - 1) * (1 - share_x)
    theta[:, 1, 2] = (2 * draw[:, 4] - 1) * (1 - share_y)
    grid = affine_grid(theta, [batch, channels, size, size], align_corners=False)
    crops = grid_sample(images_BCHW, grid.to(images_BCHW.device), padding_mode="border", align_corners=False)
    factors = (1 + jitter * (2 * draw[:, 5, None] - 1)) * (1 + jitter * (2 * draw[:, 6:] - 1))
    return (crops * factors[:, :, None, None].to(crops.device)).clamp(0, 1)
