"""The denoising network of a checkpoint."""

from __future__ import annotations

import numpy as np
import torch

from tasks.artifacts import Checkpoint
from tasks.diffusion.unet import UNet


def load_unet(checkpoint: Checkpoint, device: str = "cpu") -> UNet:
    """The network "unet" of a checkpoint, frozen and in evaluation mode; ValueError if there is none."""
    if "unet" not in checkpoint.networks:
        raise ValueError(f"checkpoint: needs a network 'unet', has {', '.join(checkpoint.networks) or 'none'}")
    network = checkpoint.networks["unet"]
    unet = UNet(network.config)
    unet.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
    return unet.to(device).eval().requires_grad_(False)


def fresh_unet(config: dict, seed: int) -> UNet:
    """A network with random weights; equal seeds give equal ones, torch's global state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(config)
