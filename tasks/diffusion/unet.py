"""The U-Net of denoising diffusion models, with configuration and parameter names of diffusers' `UNet2DModel`.

So public unconditional checkpoints in that format can be read without the library, and ours with it.

Shape legend: B batch, C channels, H, W pixels, N = H W, E embedding of the time step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

# Options of which one value is implemented.
_FIXED: dict[str, Any] = {
    "mid_block_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "act_fn": "silu",
    "center_input_sample": False,
    "class_embed_type": None,
    "num_class_embeds": None,
    "add_attention": True,
}
# What a configuration may leave out, as the library fills it in.
_DEFAULTS: dict[str, Any] = {
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "attention_head_dim": 8,
    "layers_per_block": 2,
    **_FIXED,
}
_DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "AttnUpBlock2D": True}


class UNet(nn.Module):
    """Noise prediction [B, C, H, W] for noisy inputs [B, C, H, W] at time steps int64 [B] (Ho et al., NeurIPS 2020).

    `block_out_channels`, `down_block_types`, `up_block_types` ...: as in the library's configuration, which `config` holds.
    It takes no condition: neither text nor class.

    Raises ValueError naming the key: a kind of block or an option that is not implemented.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = {**_DEFAULTS, **config}
        settings = self.config
        for key, value in _FIXED.items():
            if settings[key] != value:
                raise ValueError(f"unet: {key} {settings[key]!r} is not supported, only {value!r}")
        down_types, up_types = settings["down_block_types"], settings["up_block_types"]
        for kind, known in [(k, _DOWN) for k in down_types] + [(k, _UP) for k in up_types]:
            if kind not in known:
                raise ValueError(f"unet: blocks of type '{kind}' are not supported, only {', '.join(known)}")
        channels, layers = list(settings["block_out_channels"]), int(settings["layers_per_block"])
        if not len(channels) == len(down_types) == len(up_types):
            raise ValueError("unet: block_out_channels, down_block_types and up_block_types must be equally long")
        self.conv_in = nn.Conv2d(settings["in_channels"], channels[0], 3, padding=1)
        self.time_embedding = _TimeEmbedding(channels[0])
        before = channels[0]
        downs, ups = [], []
        for level, (width, kind) in enumerate(zip(channels, down_types, strict=True)):
            last = level == len(channels) - 1
            downs.append(_DownBlock(before, width, layers, _DOWN[kind], not last, settings))
            before = width
        self.down_blocks = nn.ModuleList(downs)
        self.mid_block = _MidBlock(channels[-1], settings)
        skips = [channels[0]]
        for level, width in enumerate(channels):
            skips += [width] * layers + ([width] if level < len(channels) - 1 else [])
        for level, (width, kind) in enumerate(zip(reversed(channels), up_types, strict=True)):
            own = [skips.pop() for _ in range(layers + 1)]
            ups.append(_UpBlock(before, own, width, _UP[kind], level < len(channels) - 1, settings))
            before = width
        self.up_blocks = nn.ModuleList(ups)
        self.conv_norm_out = nn.GroupNorm(settings["norm_num_groups"], channels[0], eps=settings["norm_eps"])
        self.conv_out = nn.Conv2d(channels[0], settings["out_channels"], 3, padding=1)

    def forward(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        return self.conv_out(silu(self.conv_norm_out(self.block_outputs(x_BCHW, t_B)[-1])))

    def block_outputs(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> list[torch.Tensor]:
        """Output of each block, in order: the first convolution; per level its residual blocks and its downsampling;
        the middle; per level its residual blocks. A residual block includes its attention; the last of an upper level
        includes the upsampling.
        """
        e_BE = self.time_embedding(self._frequencies(t_B).to(x_BCHW.dtype))
        outputs = [self.conv_in(x_BCHW)]
        skips = list(outputs)
        for block in self.down_blocks:
            own = cast(_DownBlock, block)(outputs[-1], e_BE)
            outputs += own
            skips += own
        outputs.append(self.mid_block(outputs[-1], e_BE))
        for block in self.up_blocks:
            outputs += cast(_UpBlock, block)(outputs[-1], skips, e_BE)
        return outputs

    def _frequencies(self, t_B: torch.Tensor) -> torch.Tensor:
        """Sinusoidal embedding of the time step, as wide as the first block."""
        half = self.config["block_out_channels"][0] // 2
        exponent = torch.arange(half, dtype=torch.float32, device=t_B.device) / (half - self.config["freq_shift"])
        angle = t_B[:, None].float() * torch.exp(-math.log(10000) * exponent)
        parts = (angle.cos(), angle.sin()) if self.config["flip_sin_to_cos"] else (angle.sin(), angle.cos())
        return torch.cat(parts, dim=1)


class _TimeEmbedding(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_2(silu(self.linear_1(x)))


class _Residual(nn.Module):
    """Two 3x3 convolutions, each after group norm and SiLU, the time step added between; a 1x1 shortcut if needed."""

    def __init__(self, before: int, width: int, settings: Mapping[str, Any]):
        super().__init__()
        groups, eps = settings["norm_num_groups"], settings["norm_eps"]
        self.norm1 = nn.GroupNorm(groups, before, eps=eps)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(4 * settings["block_out_channels"][0], width)
        self.norm2 = nn.GroupNorm(groups, width, eps=eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x_BCHW: torch.Tensor, e_BE: torch.Tensor) -> torch.Tensor:
        h = self.conv1(silu(self.norm1(x_BCHW))) + self.time_emb_proj(silu(e_BE))[:, :, None, None]
        h = self.conv2(silu(self.norm2(h)))
        return h + (x_BCHW if self.conv_shortcut is None else self.conv_shortcut(x_BCHW))


class _Attention(nn.Module):
    """Self-attention over the pixels of a map, added to it."""

    def __init__(self, width: int, settings: Mapping[str, Any]):
        super().__init__()
        # In this configuration attention_head_dim is the width of a head; none: a single head.
        self.heads = width // (settings["attention_head_dim"] or width)
        self.group_norm = nn.GroupNorm(settings["norm_num_groups"], width, eps=settings["norm_eps"])
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        tokens_BNC = self.group_norm(x_BCHW).flatten(2).transpose(1, 2)
        q, k, v = (
            layer(tokens_BNC).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        mixed_BNC = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x_BCHW + self.to_out[0](mixed_BNC).transpose(1, 2).reshape(x_BCHW.shape)


class _Downsample(nn.Module):
    def __init__(self, width: int, padding: int):
        super().__init__()
        self.asymmetric = padding == 0
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.conv(pad(x_BCHW, (0, 1, 0, 1)) if self.asymmetric else x_BCHW)


class _Upsample(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.conv(interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class _DownBlock(nn.Module):
    def __init__(self, before: int, width: int, layers: int, attend: bool, shrink: bool, settings: Mapping[str, Any]):
        super().__init__()
        inputs = [before] + [width] * (layers - 1)
        self.resnets = nn.ModuleList([_Residual(inside, width, settings) for inside in inputs])
        self.attentions = nn.ModuleList([_Attention(width, settings) for _ in range(layers)]) if attend else None
        padding = settings["downsample_padding"]
        self.downsamplers = nn.ModuleList([_Downsample(width, padding)]) if shrink else None

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, e)
            x = x if self.attentions is None else self.attentions[i](x)
            outputs.append(x)
        return outputs if self.downsamplers is None else [*outputs, self.downsamplers[0](x)]


class _MidBlock(nn.Module):
    def __init__(self, width: int, settings: Mapping[str, Any]):
        super().__init__()
        self.resnets = nn.ModuleList([_Residual(width, width, settings) for _ in range(2)])
        self.attentions = nn.ModuleList([_Attention(width, settings)])

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, e)), e)


class _UpBlock(nn.Module):
    def __init__(
        self, before: int, skips: list[int], width: int, attend: bool, grow: bool, settings: Mapping[str, Any]
    ):
        super().__init__()
        inputs = [before] + [width] * (len(skips) - 1)
        self.resnets = nn.ModuleList(
            [_Residual(inside + skip, width, settings) for inside, skip in zip(inputs, skips, strict=True)]
        )
        self.attentions = nn.ModuleList([_Attention(width, settings) for _ in skips]) if attend else None
        self.upsamplers = nn.ModuleList([_Upsample(width)]) if grow else None

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor], e: torch.Tensor) -> list[torch.Tensor]:
        """Uses up the last of `skips`."""
        outputs = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), e)
            x = x if self.attentions is None else self.attentions[i](x)
            if self.upsamplers is not None and i == len(self.resnets) - 1:
                x = self.upsamplers[0](x)
            outputs.append(x)
        return outputs
