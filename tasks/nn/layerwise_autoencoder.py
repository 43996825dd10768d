"""A convolutional denoising autoencoder whose decoder reconstructs every layer of the encoder.

DEPICT: Ghasedi Dizaji et al., ICCV 2017, arXiv 1704.06327, section 3.2.

Shape legend: B batch, C channels, H, W pixels, M maps, D code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import leaky_relu, mse_loss

from tasks.nn.encoder import image_tensor

SLOPE = 0.01

Count = Annotated[int, Field(ge=1)]
Padding = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class AutoencoderSettings(BaseModel):
    """Per convolution: its `maps`, `kernels`, `strides`, `padding`. `code`: size of the code, after tanh.

    `dropout`: of the input, then of the output of each convolution. `dense_activation`: of the decoder's dense layer;
    the authors' code has leaky ReLU there, the paper tanh.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    maps: Annotated[list[Count], Field(min_length=1)] = [50, 50]
    kernels: list[Count] = [4, 5]
    strides: list[Count] = [2, 2]
    padding: list[Padding] = [0, 2]
    code: Count = 10
    dropout: list[Probability] = [0.1, 0.1, 0.0]
    dense_activation: Literal["leaky_relu", "tanh"] = "leaky_relu"


class LayerwiseAutoencoder(nn.Module):
    """Strided convolutions with leaky ReLU and a dense tanh code; transposed convolutions back to images in -1..1.

    Dropout is what makes an input noisy: it is drawn from the generator that `encode` is given, and without one the
    path is clean. Weights start as Glorot & Bengio (AISTATS 2010) draw them uniformly, biases at 0.
    """

    def __init__(self, settings: AutoencoderSettings, image_shape: tuple[int, int, int]):
        super().__init__()
        depth = len(settings.maps)
        for name, values, length in (
            ("kernels", settings.kernels, depth),
            ("strides", settings.strides, depth),
            ("padding", settings.padding, depth),
            ("dropout", settings.dropout, depth + 1),
        ):
            if len(values) != length:
                raise ValueError(f"autoencoder.{name}: {len(values)} values for {depth} convolutions, not {length}")
        height, width, channels = image_shape
        self.settings, self.image_shape = settings, image_shape
        self.convolutions, self.deconvolutions = nn.ModuleList(), nn.ModuleList()
        before, size = channels, (height, width)
        for after, kernel, stride, padding in zip(
            settings.maps, settings.kernels, settings.strides, settings.padding, strict=True
        ):
            smaller = (
                (size[0] + 2 * padding - kernel) // stride + 1,
                (size[1] + 2 * padding - kernel) // stride + 1,
            )
            if min(smaller) < 1:
                raise ValueError(f"autoencoder.kernels: images of {height} x {width} pixels are too small for them")
            # Rows and columns that the strides skipped, which the way back would lack.
            skipped = (
                size[0] + 2 * padding - kernel - (smaller[0] - 1) * stride,
                size[1] + 2 * padding - kernel - (smaller[1] - 1) * stride,
            )
            self.convolutions.append(nn.Conv2d(before, after, kernel, stride, padding))
            self.deconvolutions.append(nn.ConvTranspose2d(after, before, kernel, stride, padding, skipped))
            before, size = after, smaller
        self.top = (before, *size)
        self.to_code = nn.Linear(math.prod(self.top), settings.code)
        self.from_code = nn.Linear(settings.code, math.prod(self.top))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def encode(
        self, x_BCHW: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Levels (the input, then each convolution's output before its dropout) and code [B, D]; noisy with a generator."""
        levels, rates = [x_BCHW], self.settings.dropout
        hidden = _dropout(x_BCHW, rates[0], generator)
        for convolution, rate in zip(self.convolutions, rates[1:], strict=True):
            levels.append(leaky_relu(convolution(hidden), SLOPE))
            hidden = _dropout(levels[-1], rate, generator)
        return levels, torch.tanh(self.to_code(hidden.flatten(1)))

    def decode(self, code_BD: torch.Tensor) -> list[torch.Tensor]:
        """Reconstructions of the levels, in the same order: the image first."""
        hidden = self.from_code(code_BD)
        hidden = torch.tanh(hidden) if self.settings.dense_activation == "tanh" else leaky_relu(hidden, SLOPE)
        levels = [hidden.unflatten(1, self.top)]
        for index in reversed(range(len(self.deconvolutions))):
            hidden = self.deconvolutions[index](levels[0])
            levels.insert(0, torch.tanh(hidden) if index == 0 else leaky_relu(hidden, SLOPE))
        return levels

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.encode(x_BCHW)[1]

    def config(self) -> dict:
        """JSON from which the network can be built again."""
        return {**self.settings.model_dump(), "image_shape": list(self.image_shape)}


def build_autoencoder(
    settings: AutoencoderSettings, image_shape: tuple[int, int, int], seed: int
) -> LayerwiseAutoencoder:
    """A freshly initialised network; equal seeds give equal weights, the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LayerwiseAutoencoder(settings, image_shape)


def autoencoder_from_config(config: dict, state: dict[str, np.ndarray]) -> LayerwiseAutoencoder:
    """Rebuild a network from `Network.config` and `Network.state`."""
    settings = {k: v for k, v in config.items() if k != "image_shape"}
    network = build_autoencoder(AutoencoderSettings(**settings), tuple(config["image_shape"]), 0)
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return network


def reconstruction_loss(
    clean_levels: Sequence[torch.Tensor], decoded_levels: Sequence[torch.Tensor], hidden_weight: float
) -> torch.Tensor:
    """sum over levels of c_l * mean((decoded_l - clean_l)^2), c = 1 for the image and `hidden_weight` for the others.

    Gradients flow into both: the clean path is not detached, as in the authors' code.
    """
    errors = [mse_loss(decoded, clean) for clean, decoded in zip(clean_levels, decoded_levels, strict=True)]
    return errors[0] + hidden_weight * sum(errors[1:], torch.zeros_like(errors[0]))


def signed_images(images: np.ndarray) -> torch.Tensor:
    """Images [n, H, W, C] with values 0..1 (or uint8) as float32 [n, C, H, W] in -1..1."""
    return 2 * image_tensor(images).permute(0, 3, 1, 2).contiguous() - 1


@torch.no_grad()
def clean_codes(network: LayerwiseAutoencoder, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Codes float32 [rows, D] of the clean path."""
    device = next(network.parameters()).device
    return torch.cat([network(x_BCHW.to(device)).cpu() for x_BCHW in _chunks(images, rows)]).numpy()


@torch.no_grad()
def clean_loss(network: LayerwiseAutoencoder, images: np.ndarray, rows: np.ndarray, hidden_weight: float) -> float:
    """Mean reconstruction loss of the clean path over the images `rows`."""
    device, total = next(network.parameters()).device, 0.0
    for x_BCHW in _chunks(images, rows):
        levels, code_BD = network.encode(x_BCHW.to(device))
        total += float(reconstruction_loss(levels, network.decode(code_BD), hidden_weight)) * len(x_BCHW)
    return total / len(rows)


def _chunks(images: np.ndarray, rows: np.ndarray, chunk: int = 512) -> Iterator[torch.Tensor]:
    """Signed images, a chunk in memory at a time."""
    for start in range(0, len(rows), chunk):
        yield signed_images(images[rows[start : start + chunk]])


def _dropout(x: torch.Tensor, rate: float, generator: torch.Generator | None) -> torch.Tensor:
    if generator is None or rate == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device) >= rate
    return x * kept / (1 - rate)
