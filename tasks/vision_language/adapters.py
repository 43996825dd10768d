"""Two small adapters on frozen CLIP features, and the loss that keeps predictions spread over all classes.

Shape legend: B batch, K classes, P dimensions.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import normalize


class Adapters(nn.Module):
    """Text adapter (a residual per class) and image adapter (a bottleneck), TFUP-T of arXiv 2404.16339.

    Classes: unit((1 - text_ratio) W + text_ratio E), E = 0 at first. Images: unit((1 - image_ratio) f + image_ratio g(f)),
    g(f) = ReLU(B2 ReLU(B1 f)) without biases, P -> P/4 -> P. `text_KP` and the images are as CLIP gives them,
    not normalised; logits are cosines times `logit_scale`. B2 starts at random: from 0 the outer ReLU would let no gradient through.
    """

    def __init__(self, text_KP: torch.Tensor, logit_scale: float, text_ratio: float, image_ratio: float, seed: int):
        super().__init__()
        dim = text_KP.shape[1]
        if dim < 4:
            raise ValueError(f"representation: features of {dim} dimensions; the image adapter needs 4 or more")
        self.logit_scale, self.text_ratio, self.image_ratio = logit_scale, text_ratio, image_ratio
        self.register_buffer("text", text_KP.clone(), persistent=False)
        self.residual = nn.Parameter(torch.zeros_like(text_KP))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = nn.Linear(dim, dim // 4, bias=False), nn.ReLU(), nn.Linear(dim // 4, dim, bias=False), nn.ReLU()
            self.bottleneck = nn.Sequential(*layers)

    def classes(self) -> torch.Tensor:
        """Class vectors [K, P], of length `logit_scale`."""
        return self.logit_scale * normalize(
            (1 - self.text_ratio) * self.get_buffer("text") + self.text_ratio * self.residual, dim=1
        )

    def images(self, feature_BP: torch.Tensor) -> torch.Tensor:
        """Unit image features [B, P]."""
        return normalize((1 - self.image_ratio) * feature_BP + self.image_ratio * self.bottleneck(feature_BP), dim=1)

    def forward(self, feature_BP: torch.Tensor) -> torch.Tensor:
        """Class logits [B, K], without the cache."""
        return self.images(feature_BP) @ self.classes().T


def marginal_loss(logits_BK: torch.Tensor) -> torch.Tensor:
    """Minus the entropy (nats) of the batch's mean class distribution; -ln K, its least, when all classes are even."""
    mean_K = logits_BK.softmax(dim=1).mean(dim=0)
    return (mean_K * torch.log(mean_K + 1e-6)).sum()
