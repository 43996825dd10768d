"""A small unconditional diffusion model.

Shape legend: B batch, C channels, H, W pixels.
"""

from copy import deepcopy
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Checkpoint, Dataset, network_of
from tasks.diffusion.checkpoint import fresh_unet
from tasks.diffusion.process import STEPS, add_noise, encode
from tasks.nn.dino_loss import ema_update
from tasks.nn.encoder import image_tensor
from tasks.nn.training import Optimizer, train

Size = Annotated[int, Field(ge=1)]


def ddpm(
    dataset: Dataset,
    *,
    space_to_depth: Size = 2,
    channels: Annotated[list[Size], Field(min_length=1)] = [32, 64],  # noqa: B006 (only read)
    attention: Annotated[list[bool], Field(min_length=1)] = [False, True],  # noqa: B006
    layers_per_block: Size = 1,
    head_width: Size = 16,
    groups: Size = 8,
    epochs: Annotated[int, Field(ge=0)] = 4,
    batch_size: Annotated[int, Field(ge=1)] = 32,
    optimizer: Optimizer = Optimizer(name="adamw", lr=1e-3, schedule="cosine", clip_norm=1.0),  # noqa: B008 (frozen)
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Checkpoint:
    """A small stand-in for public unconditional diffusion models (DDPM; Ho et al., NeurIPS 2020, arXiv 2006.11239).

    It learns to predict the noise in noisy images of split train, and sees neither labels nor captions. 1000 steps, linear
    betas 1e-4 to 0.02; images in [-1, 1]; the loss is the mean squared error of the noise, t uniform.

    Parameters
    ----------
    space_to_depth: side of the square of pixels that become channels; 1 works on the pixels themselves. It has the place
        of a latent model's autoencoder, is exact, and makes training four times as fast.
    channels: width of each level, each half as large as the one before. attention: which levels have self-attention.
    layers_per_block: residual blocks per level and direction (one more on the way up).
    head_width: width of an attention head. groups: of the group norms, which must divide every width.
    epochs, batch_size, optimizer: of the training.
    ema: momentum of the moving average of the weights, which is what is stored.
    seed: of weights, batches, time steps and noise. device: "cpu" or "cuda".

    Returns networks["unet"] (as `diffusers.UNet2DModel` would read it); table `curves`: `loss` (1: nothing learned);
    meta: `kind`, `space_to_depth`, `size`.

    Raises ValueError: no images, a side that `space_to_depth` and the levels do not divide, `groups` or `head_width` that
    do not divide a width, `attention` of another length than `channels`.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: needs the array 'images'; use a data set of images")
    if len(attention) != len(channels):
        raise ValueError(f"attention: {len(attention)} values for {len(channels)} levels of channels")
    for width in channels:
        if width % groups:
            raise ValueError(f"groups: {groups} does not divide the width {width} of channels {channels}")
    for width in [w for w, attend in zip(channels, attention, strict=True) if attend] + channels[-1:]:
        if width % head_width:
            raise ValueError(f"head_width: {head_width} does not divide the width {width} of channels {channels}")
    images = image_tensor(dataset.arrays["images"])
    x_NCHW = encode(images, space_to_depth)
    height, width = x_NCHW.shape[2:]
    if height % 2 ** (len(channels) - 1) or width % 2 ** (len(channels) - 1):
        raise ValueError(f"channels: maps of {height} x {width} cannot be halved {len(channels) - 1} times")
    config: dict[str, Any] = {
        "_class_name": "UNet2DModel",
        "sample_size": [height, width],
        "in_channels": x_NCHW.shape[1],
        "out_channels": x_NCHW.shape[1],
        "block_out_channels": list(channels),
        "layers_per_block": layers_per_block,
        "down_block_types": ["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attention],
        "up_block_types": ["AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attention)],
        "attention_head_dim": head_width,
        "norm_num_groups": groups,
    }
    unet = fresh_unet(config, seed).to(device)
    average = deepcopy(unet).requires_grad_(False)
    noise_stream, batch_stream = np.random.SeedSequence(seed).spawn(2)
    generator = torch.Generator().manual_seed(int(noise_stream.generate_state(1)[0]))

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        x_BCHW = x_NCHW[rows_B]
        t_B = torch.randint(0, STEPS, (len(rows_B),), generator=generator)
        noise_BCHW = torch.randn(x_BCHW.shape, generator=generator)
        noisy, t_B, noise_BCHW = (v.to(device) for v in (add_noise(x_BCHW, noise_BCHW, t_B), t_B, noise_BCHW))
        return torch.nn.functional.mse_loss(unet(noisy, t_B), noise_BCHW)

    curves = train(
        loss_of_batch,
        unet.parameters(),
        rows=dataset.rows("train"),
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(batch_stream),
        after_step=lambda step, total: ema_update(average, unet, ema),
        drop_last=True,
    )
    meta = {"kind": "ddpm", "space_to_depth": space_to_depth, "size": list(images.shape[1:3])}
    return Checkpoint({"curves": curves}, networks={"unet": network_of(average, config)}, meta=meta)
