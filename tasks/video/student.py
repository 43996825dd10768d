"""A student that reproduces the teacher's soft mask from one image: its training and its masks.

Shape legend: B batch, n images, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from tasks import progress
from tasks.curves import block_means
from tasks.nn.lowres_net import LowResNet
from tasks.nn.mask_unets import MaskUnet
from tasks.nn.training import Optimizer, build_optimizer, learning_rate
from tasks.video.background import per_frame
from tasks.vision.image_files import resize_images

Side = Annotated[int, Field(ge=4)]
Activation = Literal["linear", "relu"]
_CURVE_POINTS = 50
_AT_ONCE = 64
_ALIVE_AT, _ALIVE = 50, 0.01


class Crop(BaseModel):
    """Random crops for training: frames are resized to `resize` x `resize`, of which `size` x `size` is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    resize: Side
    size: Side


def mask_network(config: dict[str, Any]) -> LowResNet | MaskUnet:
    """A network with fresh weights from what its `config()` says."""
    if config["arch"] == "lowres_net":
        return LowResNet(config["width"], config["input"], config["output"], config["weight_std"])
    return MaskUnet(
        config["arch"],
        config["channels"],
        stem_stride=config["stem_stride"],
        dilations=tuple(config["dilations"]),
        growth=tuple(config["growth"]),
    )


def as_tensor(images_nHWC: np.ndarray) -> torch.Tensor:
    """Images uint8 or float in 0..1 [n, H, W, C] as float32 [n, C, H, W] in 0..1."""
    scale = 255 if images_nHWC.dtype == np.uint8 else 1
    return torch.from_numpy(np.array(images_nHWC)).permute(0, 3, 1, 2).float() / scale


def random_view(
    images_BCHW: torch.Tensor, masks_BHW: torch.Tensor, crop: Crop | None, flip: bool, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One crop and flip per image, the same for its mask."""
    views = []
    for image_CHW, mask_HW in zip(images_BCHW, masks_BHW, strict=True):
        if crop is not None:
            top, left = (int(rng.integers(0, side - crop.size + 1)) for side in mask_HW.shape)
            window = (..., slice(top, top + crop.size), slice(left, left + crop.size))
            image_CHW, mask_HW = image_CHW[window], mask_HW[window]
        if flip and rng.random() < 0.5:
            image_CHW, mask_HW = image_CHW.flip(-1), mask_HW.flip(-1)
        views.append((image_CHW, mask_HW))
    return torch.stack([image for image, _ in views]), torch.stack([mask for _, mask in views])


def train_student(
    network: nn.Module,
    images_nHWC: np.ndarray,
    masks_nHW: np.ndarray,
    *,
    activation: Activation,
    crop: Crop | None,
    size: int | None,
    flip: bool,
    steps: int,
    batch_size: int,
    optimizer: Optimizer,
    rng: np.random.Generator,
    device: str = "cpu",
) -> pd.DataFrame:
    """Minimise the mean squared error to soft masks in 0..1; returns the loss curve (means over equal runs of steps).

    Frames are brought to `crop.resize`, or `size`, or left as they are. Masks follow, and are shrunk to the network's
    output. Raises ValueError if the outputs have died (mean at most 0.01) after 50 steps, as they can behind a ReLU.
    """
    side = crop.resize if crop is not None else size
    target = (side, side) if side is not None else images_nHWC.shape[1:3]
    if images_nHWC.shape[1:3] != target:
        images_nHWC = resize_images(np.asarray(images_nHWC), list(target))
    masks = resized_masks(torch.from_numpy(np.array(masks_nHW, dtype=np.float32)), target)
    settings = build_optimizer(network.parameters(), optimizer)
    network.train()
    order, losses = np.empty(0, dtype=np.int64), []
    for step in range(steps):
        while len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(len(masks))])
        batch, order = order[:batch_size], order[batch_size:]
        images_BCHW, masks_BHW = random_view(as_tensor(images_nHWC[batch]), masks[batch], crop, flip, rng)
        output_BHW = activated(network(images_BCHW.to(device)), activation)
        loss = F.mse_loss(output_BHW, resized_masks(masks_BHW, output_BHW.shape[1:]).to(device))
        for group in settings.param_groups:
            group["lr"] = learning_rate(optimizer, step, steps)
        settings.zero_grad(set_to_none=True)
        loss.backward()
        if optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), optimizer.clip_norm)
        settings.step()
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"loss is {losses[-1]} at step {step}; lower optimizer.lr ({optimizer.lr})")
        mean = float(output_BHW.detach().clamp(0, 1).mean())
        if step + 1 == _ALIVE_AT and mean <= _ALIVE:
            raise ValueError(
                f"output_activation: '{activation}' outputs have died at {mean:.4f} after {_ALIVE_AT} "
                "steps; use 'linear' or lower optimizer.lr"
            )
        if (step + 1) % 10 == 0 or step + 1 == steps:
            progress.report(step + 1, steps, loss=losses[-1])
    return block_means("loss", losses, max(1, steps // _CURVE_POINTS))


@torch.no_grad()
def student_masks(
    network: nn.Module, images_nHWC: np.ndarray, size: int | None, activation: Activation, device: str = "cpu"
) -> np.ndarray:
    """Soft masks float32 [n, H, W] at the images' own size: output clipped to 0..1, resized, stretched to 0..1."""
    network.eval()
    own = images_nHWC.shape[1:3]
    masks = np.zeros(images_nHWC.shape[:3], dtype=np.float32)
    for start in range(0, len(masks), _AT_ONCE):
        part = np.asarray(images_nHWC[start : start + _AT_ONCE])
        if size is not None and own != (size, size):
            part = resize_images(part, size)
        output = activated(network(as_tensor(part).to(device)), activation).clamp(0, 1).cpu()
        masks[start : start + _AT_ONCE] = per_frame(resized_masks(output, own).numpy())
    return masks


def activated(output: torch.Tensor, activation: Activation) -> torch.Tensor:
    return torch.relu(output) if activation == "relu" else output


def resized_masks(masks_BHW: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Soft masks at another size, bilinear."""
    if tuple(masks_BHW.shape[1:]) == tuple(size):
        return masks_BHW
    return F.interpolate(masks_BHW[:, None], tuple(size), mode="bilinear", align_corners=False, antialias=True)[:, 0]
