"""The three networks of a bidirectional GAN for small images.

Shape legend: B batch, C channels, H side of the image, Z latent.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import softplus


class Encoder(nn.Module):
    """Images [B, C, H, H] -> latent [B, Z]; `features` is the penultimate layer [B, D, H/8, H/8]."""

    def __init__(self, channels: int, side: int, width: int, latent: int):
        super().__init__()
        self.body = _halving(channels, width)
        self.head = nn.Linear(4 * width * (side // 8) ** 2, latent)

    def features(self, x_BCHH: torch.Tensor) -> torch.Tensor:
        return self.body(x_BCHH)

    def forward(self, x_BCHH: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x_BCHH).flatten(1))


class Generator(nn.Module):
    """Latent [B, Z] -> images [B, C, H, H] in [-1, 1]."""

    def __init__(self, channels: int, side: int, width: int, latent: int):
        super().__init__()
        self.start = nn.Linear(latent, 4 * width * (side // 8) ** 2)
        self.shape = (4 * width, side // 8, side // 8)
        layers: list[nn.Module] = []
        for before, after in ((4, 2), (2, 1)):
            layers += [
                nn.ConvTranspose2d(before * width, after * width, 4, 2, 1),
                nn.BatchNorm2d(after * width),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())

    def forward(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return self.body(torch.relu(self.start(z_BZ)).unflatten(1, self.shape))


class Discriminator(nn.Module):
    """Pairs of image and latent -> logit [B]: high for (image, its code), low for (what a code generates, code)."""

    def __init__(self, channels: int, side: int, width: int, latent: int):
        super().__init__()
        self.body = _halving(channels, width, norm=False)
        self.head = nn.Sequential(
            nn.Linear(4 * width * (side // 8) ** 2 + latent, 4 * width), nn.LeakyReLU(0.2), nn.Linear(4 * width, 1)
        )

    def forward(self, x_BCHH: torch.Tensor, z_BZ: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.body(x_BCHH).flatten(1), z_BZ], dim=1)).squeeze(1)


def discriminator_loss(real_B: torch.Tensor, fake_B: torch.Tensor) -> torch.Tensor:
    """-E[ln D(x, E(x))] - E[ln(1 - D(G(z), z))] of logits; 2 ln 2 if it cannot tell them apart, 0 if it always can."""
    return softplus(-real_B).mean() + softplus(fake_B).mean()


def encoder_generator_loss(real_B: torch.Tensor, fake_B: torch.Tensor) -> torch.Tensor:
    """The same with the labels exchanged (non-saturating): what encoder and generator make smaller."""
    return softplus(real_B).mean() + softplus(-fake_B).mean()


def _halving(channels: int, width: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), *([nn.BatchNorm2d(after)] if norm else []), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)
