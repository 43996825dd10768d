"""Students that give a soft mask for one image: three U-Nets (Croitoru et al., IJCV 127, 2019, and its code).

Shape legend: B images, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

UnetKind = Literal["basic_unet", "dilate_unet", "dense_unet"]


class MaskUnet(nn.Module):
    """Image [B, 3, H, W] in 0..1 -> linear mask [B, H, W].

    `channels` are the widths of the encoder levels, the last one that of the centre; between levels, max-pooling by 2
    and nearest up-sampling to the exact size of the level, whose features are concatenated. The first convolution has
    stride `stem_stride`, which a bilinear up-sampling of the output undoes.

    basic_unet: two 3x3 convolutions (batch norm, ReLU) per encoder level and in the centre, three per decoder level.
    dilate_unet: the centre is 3x3 convolutions of `dilations` in sequence, ReLU, without batch norm or bias.
    dense_unet: each level and the centre is a dense block of four convolutions of `growth` channels, then 1x1 to the width.
    """

    def __init__(
        self,
        kind: UnetKind,
        channels: list[int],
        *,
        stem_stride: int = 1,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
        growth: tuple[int, ...] = (12, 24, 48, 64, 128),
    ):
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels: {channels} needs at least one level and the centre")
        if kind == "dense_unet" and len(growth) != len(channels):
            raise ValueError(f"growth: {len(growth)} numbers for {len(channels)} levels of 'channels'; give one each")
        self.settings: dict[str, Any] = {
            "arch": kind,
            "channels": channels,
            "stem_stride": stem_stride,
            "dilations": list(dilations),
            "growth": list(growth),
        }
        *levels, centre = channels
        dense = kind == "dense_unet"
        self.down = nn.ModuleList(
            dense_block(before, after, growth[i], stem_stride if i == 0 else 1)
            if dense
            else convolutions(before, after, 2, stem_stride if i == 0 else 1)
            for i, (before, after) in enumerate(zip([3, *levels[:-1]], levels, strict=True))
        )
        if dense:
            self.centre = dense_block(levels[-1], centre, growth[-1])
        elif kind == "dilate_unet":
            self.centre = dilated_convolutions(levels[-1], centre, dilations)
        else:
            self.centre = convolutions(levels[-1], centre, 2)
        ups = list(zip([centre, *levels[:0:-1]], levels[::-1], range(len(levels) - 1, -1, -1), strict=True))
        self.up = nn.ModuleList(
            dense_block(below + own, own, growth[i]) if dense else convolutions(below + own, own, 3)
            for below, own, i in ups
        )
        self.output = nn.Conv2d(levels[0], 1, 1)
        # Convolutions with few channels are faster on CPUs with channels last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def config(self) -> dict[str, Any]:
        """JSON from which `mask_network` builds the network again."""
        return self.settings

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        x, skips = images_BCHW - 0.5, []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.centre(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[2:], mode="nearest"), skip], dim=1))
        mask_B1HW = self.output(x)
        if mask_B1HW.shape[2:] != images_BCHW.shape[2:]:
            mask_B1HW = F.interpolate(mask_B1HW, images_BCHW.shape[2:], mode="bilinear", align_corners=False)
        return mask_B1HW[:, 0]


def convolutions(before: int, after: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` 3x3 convolutions with batch norm and ReLU; the first has `stride`."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [
            nn.Conv2d(after if index else before, after, 3, 1 if index else stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def dilated_convolutions(before: int, after: int, dilations: tuple[int, ...]) -> nn.Sequential:
    """3x3 convolutions of growing dilation, `same` padding, ReLU, no batch norm, no bias."""
    layers: list[nn.Module] = []
    for index, dilation in enumerate(dilations):
        layers += [
            nn.Conv2d(after if index else before, after, 3, padding=dilation, dilation=dilation, bias=False),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class _DenseBlock(nn.Module):
    """Four convolutions, each after the first on the concatenated outputs before it; gives all four outputs."""

    def __init__(self, before: int, growth: int, stride: int):
        super().__init__()
        self.first = convolutions(before, growth, 1, stride)
        self.others = nn.ModuleList(convolutions(i * growth, growth, 1) for i in (1, 2, 3))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        outputs = [self.first(x_BCHW)]
        for block in self.others:
            outputs.append(block(torch.cat(outputs, dim=1)))
        return torch.cat(outputs, dim=1)


def dense_block(before: int, after: int, growth: int, stride: int = 1) -> nn.Sequential:
    """A dense block (the input itself is not passed on) and a 1x1 transition to `after` channels."""
    return nn.Sequential(_DenseBlock(before, growth, stride), nn.Conv2d(4 * growth, after, 1))
