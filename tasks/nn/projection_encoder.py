"""A backbone whose output is the feature, and a head that maps it to unit vectors in which views are compared.

Shape legend: B batch, V views, H height, W width, C channels, D feature, P projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import normalize

from tasks.nn.encoder import Encoder, EncoderSettings

Width = Annotated[int, Field(ge=1)]
Channels = Annotated[list[float], Field(min_length=1)]


class ProjectionEncoderSettings(BaseModel):
    """`architecture` and `widths` of the backbone: `mlp` (images of one size only), `conv`, `resnet32` as
    `tasks.nn.encoder` has them, `resnet50` (He et al., CVPR 2016, arXiv 1512.03385; 2048 features, `widths` unused).

    The head is linear to `hidden`, batch norm, ReLU, linear to `projection`, unit length (SimCLR, arXiv 2002.05709;
    SwAV, arXiv 2006.09882). `mean` and `std` of the channels are what images are normalised with first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    architecture: Literal["mlp", "conv", "resnet32", "resnet50"] = "mlp"
    widths: Annotated[list[Width], Field(min_length=1)] = [128, 64]
    hidden: Width = 64
    projection: Width = 32
    mean: Channels | None = None
    std: Channels | None = None


class ProjectionEncoder(nn.Module):
    """`forward`: images [B, H, W, C] -> feature [B, D]; `project`: views of them -> unit vectors [V, B, P]."""

    def __init__(self, settings: ProjectionEncoderSettings, image_shape: tuple[int, int, int]):
        super().__init__()
        self.settings, self.image_shape = settings, image_shape
        normalisation = _ChannelNormalisation(settings, image_shape[-1])
        if settings.architecture == "resnet50":
            backbone, self.dim = _ResNet50(image_shape[-1]), _ResNet50.DIM
        else:
            encoder = Encoder(EncoderSettings(architecture=settings.architecture, widths=settings.widths), image_shape)
            backbone, self.dim = encoder.backbone, encoder.dim
        self.backbone = nn.Sequential(normalisation, backbone)
        self.head = nn.Sequential(
            nn.Linear(self.dim, settings.hidden),
            nn.BatchNorm1d(settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, settings.projection),
        )

    def forward(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        return self.backbone(images_BHWC)

    def project(self, views: Sequence[torch.Tensor]) -> torch.Tensor:
        """Unit vectors [V, B, P]. Neighbouring views of equal size pass the backbone together, the head sees all at once,
        so that batch norm takes its statistics over them."""
        features, start = [], 0
        for stop in range(1, len(views) + 1):
            if stop == len(views) or views[stop].shape != views[start].shape:
                features.append(self.backbone(torch.cat(list(views[start:stop]))))
                start = stop
        return normalize(self.head(torch.cat(features)), dim=1).unflatten(0, (len(views), -1))

    def config(self) -> dict:
        """JSON from which the network can be built again."""
        return {**self.settings.model_dump(), "image_shape": list(self.image_shape)}


def build_projection_encoder(
    settings: ProjectionEncoderSettings, image_shape: tuple[int, int, int], seed: int
) -> ProjectionEncoder:
    """A freshly initialised network; equal seeds give equal weights, the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProjectionEncoder(settings, image_shape)


class _ChannelNormalisation(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: ProjectionEncoderSettings, channels: int):
        super().__init__()
        for name, values in (("mean", settings.mean), ("std", settings.std)):
            if values is not None and len(values) != channels:
                raise ValueError(f"encoder.{name}: {len(values)} values for images of {channels} channels")
        self.register_buffer("mean", torch.tensor(settings.mean or [0.0] * channels), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std or [1.0] * channels), persistent=False)

    def forward(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        return (images_BHWC - self.mean) / self.std


class _ResNet50(nn.Module):
    DIM = 2048

    def __init__(self, channels: int):
        super().__init__()
        # Imported where it is used: the other backbones need not wait two seconds for it.
        from transformers import ResNetConfig, ResNetModel

        config = ResNetConfig(
            num_channels=channels, hidden_sizes=[256, 512, 1024, self.DIM], depths=[3, 4, 6, 3], layer_type="bottleneck"
        )
        self.model = ResNetModel(config)

    def forward(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        return self.model(images_BHWC.permute(0, 3, 1, 2).contiguous()).pooler_output.flatten(1)
