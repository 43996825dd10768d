"""Feature maps inside the U-Net of a diffusion model.

Shape legend: B batch, C channels, H, W pixels, G side of the pooled map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from tasks.diffusion.process import STEPS, add_noise, encode
from tasks.diffusion.unet import UNet


@torch.no_grad()
def noisy_block_outputs(
    unet: UNet, images_BHWC: torch.Tensor, t: int, space_to_depth: int, rng: np.random.Generator
) -> list[torch.Tensor]:
    """Outputs of all blocks for images in 0..1 to which the noise of step `t` is added: one forward pass.

    The noise comes from `rng`, value by value, so it does not depend on how images are cut into batches. Raises ValueError:
    `t` outside the steps, images that do not fit the network's channels.
    """
    check_step(t)
    x_BCHW = encode(images_BHWC, space_to_depth)
    if x_BCHW.shape[1] != unet.config["in_channels"]:
        raise ValueError(
            f"dataset: images give {x_BCHW.shape[1]} channels, the network takes {unet.config['in_channels']}"
        )
    noise = torch.from_numpy(rng.standard_normal(x_BCHW.shape, dtype=np.float32))
    t_B = torch.full((len(x_BCHW),), t)
    noisy = add_noise(x_BCHW, noise, t_B)
    device = unet.conv_in.weight.device
    return unet.block_outputs(noisy.to(device), t_B.to(device))


def check_step(t: int) -> None:
    """ValueError unless `t` is a time step."""
    if not 0 <= t < STEPS:
        raise ValueError(f"t: {t} is outside 0..{STEPS - 1}")


def pooled(map_BCHW: torch.Tensor, grid: int) -> torch.Tensor:
    """Mean over a `grid` x `grid` partition of the map, flattened [B, C G^2]. ValueError: a grid finer than the map."""
    if grid > min(map_BCHW.shape[2:]):
        raise ValueError(f"pool: {grid} is larger than the block's map of {tuple(map_BCHW.shape[2:])}")
    return adaptive_avg_pool2d(map_BCHW, grid).flatten(1)
