"""A transformer that classifies a feature map.

Shape legend: B batch, C channels, G side of the map, D width.
"""

from __future__ import annotations

import torch
from torch import nn


class AttentionHead(nn.Module):
    """Feature maps [B, C, G, G] -> class logits [B, K] (Mukhopadhyay et al., arXiv 2307.08702, attention head).

    LayerNorm over the whole map, a 1x1 convolution to `width`, tokens and a class token that starts at 0, pre-norm
    transformer blocks without dropout, and a linear layer on the class token.
    """

    def __init__(self, channels: int, side: int, classes: int, width: int, heads: int, blocks: int):
        super().__init__()
        self.norm = nn.LayerNorm([channels, side, side])
        self.project = nn.Conv2d(channels, width, 1)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(blocks)
            ]
        )
        self.classify = nn.Linear(width, classes)

    def forward(self, map_BCGG: torch.Tensor) -> torch.Tensor:
        tokens_BND = self.project(self.norm(map_BCGG)).flatten(2).transpose(1, 2)
        tokens_BND = torch.cat([self.class_token.expand(len(tokens_BND), -1, -1), tokens_BND], dim=1)
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        return self.classify(tokens_BND[:, 0])
