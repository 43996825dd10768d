"""Adding noise step by step, and taking it away.

Shape legend: B batch, C channels, H, W pixels, T time steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

STEPS = 1000
_FIRST, _LAST = 1e-4, 0.02

NoiseOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def signal_share() -> torch.Tensor:
    """abar float32 [T]: share of the image's variance left after each step, linear betas (Ho et al., NeurIPS 2020)."""
    betas_T = torch.linspace(_FIRST, _LAST, STEPS, dtype=torch.float64)
    return torch.cumprod(1 - betas_T, dim=0).float()


def add_noise(x_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
    """sqrt(abar_t) x + sqrt(1 - abar_t) noise."""
    abar_B111 = signal_share().to(x_BCHW.device)[t_B][:, None, None, None]
    return abar_B111.sqrt() * x_BCHW + (1 - abar_B111).sqrt() * noise_BCHW


def encode(images_BHWC: torch.Tensor, block: int) -> torch.Tensor:
    """Images in 0..1 as the network sees them: scaled to [-1, 1], `block` x `block` pixels side by side as channels.

    [B, H, W, C] -> [B, C block^2, H / block, W / block]; `decode` is its exact inverse.
    Raises ValueError: a side that `block` does not divide.
    """
    height, width = images_BHWC.shape[1:3]
    if height % block or width % block:
        raise ValueError(f"block: {block} does not divide images of {height} x {width} pixels")
    return pixel_unshuffle(2 * images_BHWC.permute(0, 3, 1, 2) - 1, block)


def decode(x_BCHW: torch.Tensor, block: int) -> torch.Tensor:
    """Inverse of `encode`: images [B, H, W, C] in 0..1."""
    return (pixel_shuffle(x_BCHW, block).permute(0, 2, 3, 1) + 1) / 2


@torch.no_grad()
def ddim_sample(noise_of: NoiseOf, start_BCHW: torch.Tensor, steps: int) -> torch.Tensor:
    """Images from noise in `steps` deterministic steps (DDIM; Song et al., ICLR 2021, arXiv 2010.02502, eta = 0).

    `noise_of(x, t_B)` predicts the noise. Predicted images are clipped to [-1, 1], as the library does.
    """
    abar_T = signal_share().to(start_BCHW.device)
    times = torch.linspace(STEPS - 1, 0, steps).round().long().tolist()
    x = start_BCHW
    for i, t in enumerate(times):
        noise = noise_of(x, torch.full((len(x),), t, device=x.device))
        clean = ((x - (1 - abar_T[t]).sqrt() * noise) / abar_T[t].sqrt()).clamp(-1, 1)
        if i + 1 == len(times):
            return clean
        noise = (x - abar_T[t].sqrt() * clean) / (1 - abar_T[t]).sqrt()
        following = abar_T[times[i + 1]]
        x = following.sqrt() * clean + (1 - following).sqrt() * noise
    return x
