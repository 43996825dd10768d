"""Masked autoencoder around a Vision Transformer (He et al., CVPR 2022, arXiv 2111.06377).

Shape legend: B images, N patches, M visible patches, D width, P pixels of a patch (all channels).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import ViTModel


class MaskedAutoencoder(nn.Module):
    """The encoder sees the visible patches alone; a light decoder sees them and mask tokens, and paints the hidden ones."""

    def __init__(self, vit: ViTModel, patch: int, channels: int, *, hidden: int, layers: int, heads: int):
        super().__init__()
        width = vit.config.hidden_size
        self.vit, self.patch, self.hidden = vit, patch, hidden
        self.embed = nn.Linear(width, hidden)
        self.mask_token = nn.Parameter(torch.zeros(hidden))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.paint = nn.Linear(hidden, patch * patch * channels)

    def forward(self, pixels_BCHW: torch.Tensor, hidden_BN: torch.Tensor) -> torch.Tensor:
        """Painted patches [B, N, P]. `hidden_BN`: which patches are hidden, equally many in every image."""
        embeddings = self.vit.embeddings
        height, width = pixels_BCHW.shape[2:]
        patches = embeddings.patch_embeddings(pixels_BCHW)
        tokens = torch.cat([embeddings.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        tokens = tokens + embeddings.interpolate_pos_encoding(tokens, height, width)
        order = torch.argsort(hidden_BN.int(), dim=1, stable=True)  # visible patches first
        count = int((~hidden_BN[0]).sum())
        seen = order[:, :count, None].expand(-1, -1, tokens.shape[2])
        x = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, seen)], dim=1)
        for layer in self.vit.layers:
            x = layer(x, None)
        x = self.embed(self.vit.layernorm(x))
        full = self.mask_token.expand(len(x), hidden_BN.shape[1], -1)
        full = full.scatter(1, order[:, :count, None].expand(-1, -1, self.hidden), x[:, 1:])
        places = positions(height // self.patch, width // self.patch, self.hidden).to(x)
        y = torch.cat([x[:, :1], full + places], dim=1)
        for layer in self.decoder:
            y = layer(y)
        return self.paint(self.norm(y[:, 1:]))


def patches_of(pixels_BCHW: torch.Tensor, patch: int) -> torch.Tensor:
    """Patches [B, N, P], row by row."""
    return F.unfold(pixels_BCHW, patch, stride=patch).transpose(1, 2)


def masked_loss(painted_BNP: torch.Tensor, target_BNP: torch.Tensor, hidden_BN: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the pixels of the hidden patches."""
    return ((painted_BNP - target_BNP) ** 2)[hidden_BN].mean()


def hidden_patches(batch: int, patches: int, ratio: float, rng: np.random.Generator) -> torch.Tensor:
    """Boolean [B, N]: round(ratio N) random patches of every image, at least one hidden and one visible."""
    count = min(max(round(ratio * patches), 1), patches - 1)
    rank = rng.random((batch, patches)).argsort(axis=1).argsort(axis=1)
    return torch.from_numpy(rank < count)


def positions(height: int, width: int, dim: int) -> torch.Tensor:
    """Sine-cosine positions [height * width, dim] of a grid (half of the channels for each axis)."""
    quarter = dim // 4
    rate = 1.0 / 10000 ** (torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [f(axis.flatten()[:, None] * rate) for axis in (y, x) for f in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)
