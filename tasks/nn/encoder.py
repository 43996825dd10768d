"""Image encoders: a backbone whose output is the feature, and a projection head that training discards.

Shape legend: B batch, H height, W width, C channels, D feature, P projection.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Width = Annotated[int, Field(ge=1)]


class EncoderSettings(BaseModel):
    """Architecture of an encoder.

    `mlp`: `widths` are the layer sizes, the last one is the feature. `conv`: 3x3 convolutions with
    batch norm, stride 2 after the first, `widths` are the channels; the feature is their spatial mean.
    `resnet32`: He et al. 2016 for 32x32 images, 64 features (`widths` unused). `vit`: vision transformer
    (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) of `layers` blocks with `heads` heads on patches of
    `patch_size` pixels; the last of `widths` is its width, the feature is the class token. `projection` are the
    sizes of the head's layers; empty means that the head is the identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    architecture: Literal["mlp", "conv", "resnet32", "vit"] = "mlp"
    widths: Annotated[list[Width], Field(min_length=1)] = [128, 64]
    projection: list[Width] = []
    patch_size: Width = 16
    layers: Width = 12
    heads: Width = 12


class Encoder(nn.Module):
    """`backbone`: images [B, H, W, C] float -> feature [B, D]; `projection`: feature -> [B, P]."""

    def __init__(self, settings: EncoderSettings, image_shape: tuple[int, int, int]):
        super().__init__()
        height, width, channels = image_shape
        self.settings, self.image_shape = settings, image_shape
        if settings.architecture == "mlp":
            self.backbone = nn.Sequential(nn.Flatten(), _mlp([height * width * channels, *settings.widths]))
            self.dim = settings.widths[-1]
        elif settings.architecture == "conv":
            self.backbone = nn.Sequential(_ChannelsFirst(), _conv(channels, settings.widths))
            self.dim = settings.widths[-1]
        elif settings.architecture == "vit":
            self.backbone = nn.Sequential(_ChannelsFirst(), VisionTransformer(settings, image_shape))
            self.dim = settings.widths[-1]
        else:
            self.backbone = nn.Sequential(_ChannelsFirst(), ResNet32(channels))
            self.dim = 64
        self.projection = _mlp([self.dim, *settings.projection]) if settings.projection else nn.Identity()

    def forward(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        return self.projection(self.backbone(images_BHWC))

    def config(self) -> dict:
        """JSON from which `Encoder` can be built again."""
        return {**self.settings.model_dump(), "image_shape": list(self.image_shape)}


def encoder_from_config(config: dict, state: dict[str, np.ndarray]) -> Encoder:
    """Rebuild an `Encoder` from `Network.config` and `Network.state`."""
    settings = {k: v for k, v in config.items() if k != "image_shape"}
    encoder = Encoder(EncoderSettings(**settings), tuple(config["image_shape"]))
    encoder.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return encoder.eval()


def build_encoder(settings: EncoderSettings, image_shape: tuple[int, int, int], seed: int) -> Encoder:
    """A freshly initialised encoder; equal seeds give equal weights, the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(settings, image_shape)


@torch.no_grad()
def embed(network: nn.Module, images_NHWC: torch.Tensor, batch_size: int = 512) -> torch.Tensor:
    """`network` on all images in evaluation mode; restores the mode afterwards."""
    training = network.training
    network.eval()
    parts = [network(images_NHWC[i : i + batch_size]) for i in range(0, len(images_NHWC), batch_size)]
    network.train(training)
    return torch.cat(parts)


def image_tensor(images: np.ndarray) -> torch.Tensor:
    """Images [n, H, W, C] (or [n, H, W]) as float32; uint8 is scaled to 0..1."""
    array = np.array(images)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise ValueError(f"images must be [n, H, W, C], got shape {array.shape}")
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    return torch.from_numpy(array.astype(np.float32) / scale)


class ResNet32(nn.Module):
    """CIFAR ResNet with 5 basic blocks at 16, 32 and 64 channels (He et al. 2016, section 4.2)."""

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = [_conv_bn(channels, 16, 1), nn.ReLU()]
        before = 16
        for width in (16, 32, 64):
            for block in range(5):
                layers.append(_BasicBlock(before, width, 2 if width > 16 and block == 0 else 1))
                before = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layers(images_BCHW).mean(dim=(2, 3))


class VisionTransformer(nn.Module):
    """`transformers.ViTModel` whose output is the class token after the last layer norm."""

    def __init__(self, settings: EncoderSettings, image_shape: tuple[int, int, int]):
        super().__init__()
        height, width, channels = image_shape
        patch, dim, heads = settings.patch_size, settings.widths[-1], settings.heads
        if height % patch or width % patch:
            raise ValueError(f"encoder.patch_size: {patch} does not divide images of {height} x {width} pixels")
        if dim % heads:
            raise ValueError(f"encoder.heads: {heads} does not divide the width {dim}, the last of encoder.widths")
        # Imported where it is used: the other encoders need not wait two seconds for it.
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(
            hidden_size=dim,
            num_hidden_layers=settings.layers,
            num_attention_heads=heads,
            intermediate_size=4 * dim,
            image_size=(height, width),
            patch_size=patch,
            num_channels=channels,
        )
        self.model = ViTModel(config, add_pooling_layer=False)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.model(images_BCHW).last_hidden_state[:, 0]


class _BasicBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.stride, self.extra = stride, width - before
        self.residual = nn.Sequential(_conv_bn(before, width, stride), nn.ReLU(), _conv_bn(width, width, 1))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        # Option A of the paper: subsample and pad with zero channels, no parameters.
        short = x_BCHW[:, :, :: self.stride, :: self.stride]
        short = nn.functional.pad(short, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return torch.relu(self.residual(x_BCHW) + short)


class _ChannelsFirst(nn.Module):
    def forward(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        return images_BHWC.permute(0, 3, 1, 2).contiguous()


class _SpatialMean(nn.Module):
    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return x_BCHW.mean(dim=(2, 3))


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _conv_bn(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))


def _conv(channels: int, widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
        layers += [_conv_bn(before, after, 1 if index == 0 else 2), nn.ReLU()]
    return nn.Sequential(*layers, _SpatialMean())
