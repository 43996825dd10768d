"""A frozen Vision Transformer (`transformers.ViTModel`) as a source of patch features.

Shape legend: B batch, C channels, H, W pixels, N patches, D hidden size.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Checkpoint

Layer = Literal["patch_tokens", "key", "last"]


def load_vit(checkpoint: Checkpoint, device: str = "cpu") -> ViTModel:
    """The network "vit" of a checkpoint on `device` in evaluation mode; ValueError if there is none."""
    if "vit" not in checkpoint.networks:
        raise ValueError(f"checkpoint: needs a network 'vit', has {', '.join(checkpoint.networks) or 'none'}")
    network = checkpoint.networks["vit"]
    vit = ViTModel(ViTConfig(**network.config), add_pooling_layer=False)
    vit.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
    nn.Module.to(vit, device)  # transformers' own `to` has an untyped signature
    return vit.eval().requires_grad_(False)


def patch_side(vit: ViTModel) -> int:
    """Side of the ViT's square patches in pixels."""
    size = vit.config.patch_size
    if not isinstance(size, int):
        raise ValueError(f"checkpoint: patches of {size} pixels; square patches are needed")
    return size


def image_batch(images: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """`images[rows]` [n, H, W, C] or [n, H, W] as float32 [B, C, H, W] in 0..1 (uint8 is divided by 255)."""
    batch = np.array(images[rows])
    if batch.ndim == 3:
        batch = batch[..., None]
    scaled = batch.astype(np.float32) / (255 if batch.dtype == np.uint8 else 1)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def preprocess(images_BCHW: torch.Tensor, vit: ViTModel, meta: dict) -> torch.Tensor:
    """Images in 0..1 as the checkpoint wants them: grey repeated to its channels, its mean and deviation applied."""
    channels = vit.config.num_channels
    if images_BCHW.shape[1] == 1:
        images_BCHW = images_BCHW.expand(-1, channels, -1, -1)
    if images_BCHW.shape[1] != channels:
        raise ValueError(f"checkpoint: its images have {channels} channels, the dataset's have {images_BCHW.shape[1]}")
    mean, std = (
        torch.tensor(meta[key], device=images_BCHW.device)[:, None, None] for key in ("image_mean", "image_std")
    )
    return (images_BCHW - mean) / std


def check_divisible(height: int, width: int, patch: int) -> None:
    """ValueError unless both sides are multiples of the patch."""
    if height % patch or width % patch:
        raise ValueError(
            f"image_size: images of {width}x{height} pixels do not divide into patches of {patch}; "
            f"give an 'image_size' that is a multiple of {patch}"
        )


@torch.no_grad()
def vit_features(vit: ViTModel, pixels_BCHW: torch.Tensor, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """Patch features [B, N, D] of one layer and the CLS token [B, D] after the final LayerNorm.

    `patch_tokens`: output of the patch embedding, before positions are added; `key`: key vectors of the last
    block's attention, heads side by side; `last`: tokens after the final LayerNorm. Positions are interpolated to
    the image's grid.
    """
    keys: list[Any] = []
    projection = vit.get_submodule(f"layers.{len(vit.layers) - 1}.attention.k_proj")
    hook = projection.register_forward_hook(lambda module, inputs, output: keys.append(output))
    try:
        tokens = vit(pixels_BCHW, interpolate_pos_encoding=True).last_hidden_state
    finally:
        hook.remove()
    if layer == "key":
        features = keys[0][:, 1:]
    elif layer == "last":
        features = tokens[:, 1:]
    else:
        features = vit.embeddings.patch_embeddings(pixels_BCHW)
    return features, tokens[:, 0]
