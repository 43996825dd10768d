"""Projection head of DINO (Caron et al., ICCV 2021, arXiv 2104.14294, section 3.1 and appendix C).

Shape legend: B batch, D backbone feature, P prototypes.
"""

import torch
from torch import nn
from torch.nn.functional import linear, normalize

BOTTLENECK = 64
WIDTH = 128


class DinoHead(nn.Module):
    """Three linear layers with GELU, unit length, then the cosine with `prototypes` unit vectors: [..., D] -> [..., P].

    The last layer is weight-normalised with its gains fixed at 1, so that no prototype can win by its length. The
    paper's sizes (2048, 2048, 256) are scaled to the small ViT: 128, 128, 64.
    """

    def __init__(self, dim: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, BOTTLENECK)
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.direction = nn.Parameter(torch.randn(prototypes, BOTTLENECK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(normalize(self.mlp(x), dim=-1), normalize(self.direction, dim=-1))
