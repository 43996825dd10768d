"""LowRes-Net: three branches and a fully connected layer that draws a small mask (Croitoru et al., ICCV 2017, and its code).

Shape legend: B images, H, W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from kornia.color import rgb_to_hsv
from torch import nn
from torch.nn import functional as F

_FULL_BIAS = 0.1


class LowResNet(nn.Module):
    """Image [B, 3, input, input] in 0..1 -> linear mask [B, output, output].

    Branches for RGB, the gradients of the grey image and hue: convolutions 3x3 and 5x5 of `width`, pooling by 2. Then
    3x3 and 5x5 of `width`, pooling by 2, 3x3 and 5x5 of `width`, 5x5 of width / 4, all with ReLU, and one
    fully connected layer. The code's width is 256, its input 128 and its output 32. Weights start as truncated normals
    of deviation `weight_std` (the code's 0.05, with which the signal of a narrow network fades), or by He's rule (ICCV
    2015) if it is None; biases start at 0 (0.1 in the last layer).
    """

    def __init__(self, width: int, size: int, output: int, weight_std: float | None = None):
        super().__init__()
        if size % 4:
            raise ValueError(f"input: {size} is no multiple of 4, which two poolings need")
        self.settings: dict[str, Any] = {
            "arch": "lowres_net", "width": width, "input": size, "output": output, "weight_std": weight_std,
        }  # fmt: skip
        self.side, self.size = output, size
        self.branches = nn.ModuleList(_branch(channels, width) for channels in (3, 2, 1))
        narrow = max(width // 4, 1)
        self.trunk = nn.Sequential(
            *_layer(3 * width, width, 3),
            *_layer(width, width, 5),
            nn.MaxPool2d(2),
            *_layer(width, width, 3),
            *_layer(width, width, 5),
            *_layer(width, narrow, 5),
        )
        self.full = nn.Linear(narrow * (size // 4) ** 2, output**2)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if weight_std is None:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module is self.full else "relu")
                else:
                    nn.init.trunc_normal_(module.weight, std=weight_std, a=-2 * weight_std, b=2 * weight_std)
                nn.init.constant_(module.bias, _FULL_BIAS if module is self.full else 0.0)  # type: ignore[arg-type]

    def config(self) -> dict[str, Any]:
        """JSON from which `mask_network` builds the network again."""
        return self.settings

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        if images_BCHW.shape[2:] != (self.size, self.size):
            raise ValueError(f"input: the network takes {self.size} x {self.size}, got {tuple(images_BCHW.shape[2:])}")
        parts = (images_BCHW, gradients(images_BCHW), hue(images_BCHW))
        x = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=1)
        return self.full(self.trunk(x).flatten(1)).unflatten(1, (self.side, self.side))


def gradients(images_BCHW: torch.Tensor) -> torch.Tensor:
    """Vertical and horizontal central differences [B, 2, H, W] of the grey image, borders repeated."""
    grey = images_BCHW.mean(dim=1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return torch.cat([down, right], dim=1)


def hue(images_BCHW: torch.Tensor) -> torch.Tensor:
    """Hue [B, 1, H, W] in 0..1."""
    return rgb_to_hsv(images_BCHW)[:, :1] / (2 * torch.pi)


def _branch(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_layer(before, width, 3), *_layer(width, width, 5), nn.MaxPool2d(2))


def _layer(before: int, after: int, side: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, side, padding=side // 2), nn.ReLU()
