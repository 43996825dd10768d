"""Random image augmentation as one declared setting, drawn from a given generator.

Shape legend: B batch, H height, W width, C channels.
"""

from __future__ import annotations

from typing import Annotated

import kornia.augmentation as K
import torch
from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(BaseModel):
    """What is done to a batch, in this order; everything is off by default.

    `shift`: whole-image shift by up to that many pixels, zeros enter. `crop`: scale range of a random
    resized crop. `flip`: probability of a mirror image. `jitter`: brightness, contrast, saturation, hue of
    colour images, applied with probability 0.8. `grey`: probability of dropping colour. `contrast`: the
    image times 1 + contrast * N(0, 1). `noise`: standard deviation of Gaussian pixel noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    shift: Annotated[int, Field(ge=0)] = 0
    crop: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    flip: Share = 0.0
    jitter: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=4, max_length=4)] | None = None
    grey: Share = 0.0
    contrast: Annotated[float, Field(ge=0)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0


def augment(images_BHWC: torch.Tensor, settings: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """One random view of each image, float32, same shape; all randomness comes from `generator`."""
    images = images_BHWC
    batch, height, width, channels = images.shape
    if settings.shift:
        s = settings.shift
        padded = torch.nn.functional.pad(images, (0, 0, s, s, s, s))
        offsets = torch.randint(0, 2 * s + 1, (batch, 2), generator=generator)
        rows = offsets[:, 0, None] + torch.arange(height)
        columns = offsets[:, 1, None] + torch.arange(width)
        images = padded[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]
    photometric = _kornia(settings, height, width, channels)
    if photometric is not None:
        seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
        # kornia draws from torch's global state; fork it so that callers never notice.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            images = photometric(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    if settings.contrast:
        images = images * (1 + settings.contrast * torch.randn(batch, 1, 1, 1, generator=generator))
    if settings.noise:
        images = images + settings.noise * torch.randn(images.shape, generator=generator)
    return images.contiguous()


def _kornia(settings: Augmentation, height: int, width: int, channels: int) -> torch.nn.Module | None:
    parts: list[torch.nn.Module] = []
    if settings.crop is not None:
        low, high = settings.crop
        parts.append(K.RandomResizedCrop((height, width), scale=(low, high)))
    if settings.flip:
        parts.append(K.RandomHorizontalFlip(p=settings.flip))
    if settings.jitter is not None and channels == 3:
        brightness, contrast, saturation, hue = settings.jitter
        parts.append(K.ColorJitter(brightness, contrast, saturation, hue, p=0.8))
    if settings.grey and channels == 3:
        parts.append(K.RandomGrayscale(p=settings.grey))
    return torch.nn.Sequential(*parts) if parts else None
