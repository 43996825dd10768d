"""A CLIP network with its tokenizer: images, patches and texts in one space.

Shape legend: B batch, H height, W width, C channels, N patches, P projection, n texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import CLIPConfig, CLIPModel

from tasks.artifacts import Checkpoint
from tasks.vision_language.tokenizer import tokenize

Pool = Literal["mean", "cls"]


@dataclass
class Clip:
    """Both towers, frozen or in training, the tokenizer, and the preprocessing `meta` of the checkpoint."""

    model: Any
    tokenizer: Tokenizer
    meta: dict[str, Any]

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def pixels(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        """What the image tower sees, [B, C, size, size], on its device."""
        return pixels_for(images_BHWC, self.meta, self.model.config.vision_config).to(self.device)

    def images(self, pixels_BCHW: torch.Tensor, pool: Pool) -> torch.Tensor:
        """Image embeddings [B, P], not normalised: of the class token, or the mean over the patches' embeddings."""
        if pool == "mean":
            return self.patches(pixels_BCHW).mean(dim=1)
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels_BCHW).pooler_output)

    def patches(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Patch embeddings [B, N, P] in the space of the texts. The class token, at index 0, is left out."""
        tower = self.model.vision_model
        tokens = tower(pixel_values=pixels_BCHW).last_hidden_state[:, 1:]
        return self.model.visual_projection(tower.post_layernorm(tokens))

    def tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Text embeddings [B, P], not normalised, of token ids and their attention mask, both [B, T]."""
        output = self.model.text_model(input_ids=ids, attention_mask=mask)
        return self.model.text_projection(output.pooler_output)

    @torch.no_grad()
    def texts(self, texts: Sequence[str], batch_size: int = 256) -> torch.Tensor:
        """Text embeddings float32 [n, P], not normalised, on the CPU."""
        parts = []
        for start in range(0, len(texts), batch_size):
            ids, mask = tokenize(self.tokenizer, texts[start : start + batch_size])
            ids, mask = torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)
            parts.append(self.tokens(ids, mask).float().cpu())
        return torch.cat(parts)


def load_clip(checkpoint: Checkpoint, device: str = "cpu") -> Clip:
    """The network "clip" with both towers and the tokenizer of a checkpoint, frozen; ValueError if one is absent."""
    network = checkpoint.networks.get("clip")
    if network is None or network.config.get("model_type") != "clip":
        has = ", ".join(f"{n} ({w.config.get('model_type')})" for n, w in checkpoint.networks.items()) or "none"
        raise ValueError(f"checkpoint: needs a network 'clip' with both towers (networks: {has})")
    if "tokenizer" not in checkpoint.meta:
        raise ValueError("checkpoint: has no tokenizer, so texts cannot be read; use step clip or public_clip")
    model: Any = CLIPModel(CLIPConfig(**network.config))
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
    model = model.to(device).eval().requires_grad_(False)
    return Clip(model, Tokenizer.from_str(checkpoint.meta["tokenizer"]), checkpoint.meta)


def pixels_for(images_BHWC: torch.Tensor, meta: dict[str, Any], vision: Any) -> torch.Tensor:
    """Images in 0..1 as the network of configuration `vision` wants them [B, C, size, size].

    The shorter side is resized (antialiased bicubic), the centre cropped, `image_mean` and `image_std` applied; grey
    images are repeated over the channels.
    """
    pixels_BCHW = images_BHWC.permute(0, 3, 1, 2)
    channels, size = vision.num_channels, vision.image_size
    if pixels_BCHW.shape[1] == 1:
        pixels_BCHW = pixels_BCHW.expand(-1, channels, -1, -1)
    if pixels_BCHW.shape[1] != channels:
        raise ValueError(f"dataset: images have {pixels_BCHW.shape[1]} channels, network 'clip' takes {channels}")
    height, width = pixels_BCHW.shape[2:]
    if min(height, width) != size:
        ratio = size / min(height, width)
        shape = [max(size, round(height * ratio)), max(size, round(width * ratio))]
        pixels_BCHW = torch.nn.functional.interpolate(pixels_BCHW, shape, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (pixels_BCHW.shape[2] - size) // 2, (pixels_BCHW.shape[3] - size) // 2
    pixels_BCHW = pixels_BCHW[:, :, top : top + size, left : left + size]
    if "image_mean" not in meta or "image_std" not in meta:
        raise ValueError("checkpoint: meta needs 'image_mean' and 'image_std'")
    mean, std = (torch.tensor(meta[key], dtype=torch.float32)[:, None, None] for key in ("image_mean", "image_std"))
    return (pixels_BCHW - mean) / std
