"""A centre-based panoptic network: semantic map, instance centres, and offsets to them.

Shape legend: B images, C channels, H, W pixels, N instances of a batch, K thing clusters, S semantic classes.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from tasks.segmentation.copy_paste import Batch
from tasks.segmentation.panoptic_inference import Inference, Prediction

Weight = Annotated[float, Field(ge=0)]
_OFFSET_SCALE = 16.0
_CENTRE_BIAS = -4.0
IGNORED = 255


class CentreLoss(BaseModel):
    """Weights of the loss terms; `sigma`: width in pixels of the Gaussian around an instance's centre."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    semantic: Weight = 1.0
    thing: Weight = 0.5
    centre: Weight = 50.0
    offset: Weight = 0.1
    sigma: Annotated[float, Field(gt=0)] = 2.5


class CentreNetwork(nn.Module):
    """A small U-Net with one 1x1 output layer, after Panoptic-DeepLab (Cheng et al., CVPR 2020, arXiv 1911.10194).

    Stem of stride 2, `channels` at strides 2, 4, 8, two 3x3 convolutions with batch norm and ReLU per level.
    Outputs: `semantic` classes (0 is thing), `things` class scores, a centre heat map and an offset (dy, dx) in
    pixels. The bias of the centre starts at -4: at 0 the heat-map term swamps the others.
    """

    def __init__(
        self, semantic: int, things: int, loss: CentreLoss, inference: Inference, channels: list[int], inputs: int = 3
    ):
        super().__init__()
        self.semantic, self.things, self.weights, self.inference = semantic, things, loss, inference
        self.channels, self.inputs = channels, inputs
        first = channels[0]
        self.stem = nn.Sequential(nn.Conv2d(inputs, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        pairs = zip([first, *channels[:-1]], channels, strict=True)
        self.down = nn.ModuleList([_two_convolutions(before, after) for before, after in pairs])
        ups = reversed(range(len(channels) - 1))
        self.up = nn.ModuleList([_two_convolutions(channels[i] + channels[i + 1], channels[i]) for i in ups])
        self.output = nn.Conv2d(first, semantic + things + 3, 1)
        # Convolutions with few channels are faster on CPUs with channels last, as the images come.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            assert self.output.bias is not None
            self.output.bias[semantic + things] = _CENTRE_BIAS

    def config(self) -> dict:
        """JSON from which `centre_network_from_config` builds the network again."""
        return {
            "arch": "panoptic_deeplab",
            "semantic": self.semantic,
            "things": self.things,
            "channels": self.channels,
            "inputs": self.inputs,
            "loss": self.weights.model_dump(),
            "inference": self.inference.model_dump(),
        }

    def forward(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [B, S, H, W] and [B, K, H, W], centre logits [B, H, W], offsets [B, 2, H, W]."""
        x, skips = self.stem(images_BCHW - 0.5), []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        x = F.interpolate(self.output(x), images_BCHW.shape[2:], mode="bilinear", align_corners=False)
        semantic, thing, centre, offset = torch.split(x, [self.semantic, self.things, 1, 2], dim=1)
        return semantic, thing, centre[:, 0], offset * _OFFSET_SCALE

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Weighted loss terms of one batch (means over the pixels that each concerns, 0 if there is none)."""
        device = self.output.weight.device
        images_BCHW = torch.from_numpy(batch.images_BHWC).permute(0, 3, 1, 2).to(device)
        semantic_BSHW, thing_BKHW, centre_BHW, offset_B2HW = self(images_BCHW)
        heat_BHW, to_centre_B2HW = centre_targets(batch.instance_BHW, self.weights.sigma)
        target_BHW = torch.from_numpy(batch.semantic_BHW.astype(np.int64)).to(device)
        if self.semantic == 2:  # foreground or not: every stuff cluster is background
            target_BHW = torch.where(target_BHW == IGNORED, target_BHW, target_BHW.clamp(max=1))
        labelled_BHW = target_BHW != IGNORED
        inside_BHW = torch.from_numpy(batch.instance_BHW > 0).to(device)
        category_BHW = torch.from_numpy(np.where(batch.instance_BHW > 0, batch.category_BHW, IGNORED)).to(device)
        if self.things == 1:
            category_BHW = torch.where(inside_BHW, torch.zeros_like(category_BHW), category_BHW)
        labelled, inside = labelled_BHW.sum().clamp(min=1), inside_BHW.sum().clamp(min=1)
        w = self.weights
        squares_BHW = (torch.sigmoid(centre_BHW) - torch.from_numpy(heat_BHW).to(device)) ** 2
        distance_BHW = (offset_B2HW - torch.from_numpy(to_centre_B2HW).to(device)).abs().sum(dim=1)
        summed = {"ignore_index": IGNORED, "reduction": "sum"}
        return {
            "semantic": w.semantic * F.cross_entropy(semantic_BSHW, target_BHW, **summed) / labelled,
            "thing class": w.thing * F.cross_entropy(thing_BKHW, category_BHW, **summed) / inside,
            "centre": w.centre * (squares_BHW * labelled_BHW).sum() / labelled,
            "offset": w.offset * (distance_BHW * inside_BHW).sum() / inside,
        }

    @torch.no_grad()
    def predict(self, images_BHWC: np.ndarray) -> list[Prediction]:
        """Instances and stuff of images float32 0..1 [B, H, W, C], in evaluation mode."""
        was_training = self.training
        self.eval()
        device = self.output.weight.device
        outputs = self(torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).to(device))
        self.train(was_training)
        semantic, thing, centre, offset = (output.cpu() for output in outputs)
        return [decode(semantic[i], thing[i], centre[i], offset[i], self.inference) for i in range(len(images_BHWC))]


def centre_network_from_config(config: dict) -> CentreNetwork:
    """The network (with fresh weights) that `CentreNetwork.config` describes."""
    loss, inference = CentreLoss(**config["loss"]), Inference(**config["inference"])
    return CentreNetwork(config["semantic"], config["things"], loss, inference, config["channels"], config["inputs"])


def centre_targets(instance_BHW: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Heat map float32 [B, H, W] (highest of the Gaussians around the centres of mass of the instances) and, on their
    pixels, the way (dy, dx) to the own centre float32 [B, 2, H, W]."""
    images, height, width = instance_BHW.shape
    heat_BHW = np.zeros((images, height, width), dtype=np.float32)
    way_B2HW = np.zeros((images, 2, height, width), dtype=np.float32)
    b, y, x = np.nonzero(instance_BHW)
    if len(b) == 0:
        return heat_BHW, way_B2HW
    key = b.astype(np.int64) * (int(instance_BHW.max()) + 1) + instance_BHW[b, y, x]
    keys_N, of_pixel = np.unique(key, return_inverse=True)
    count_N = np.bincount(of_pixel)
    centre_y_N, centre_x_N = np.bincount(of_pixel, y) / count_N, np.bincount(of_pixel, x) / count_N
    way_B2HW[b, 0, y, x] = centre_y_N[of_pixel] - y
    way_B2HW[b, 1, y, x] = centre_x_N[of_pixel] - x
    column_NH = np.exp(-((np.arange(height) - centre_y_N[:, None]) ** 2) / (2 * sigma**2))
    row_NW = np.exp(-((np.arange(width) - centre_x_N[:, None]) ** 2) / (2 * sigma**2))
    for image, column_H, row_W in zip(keys_N // (int(instance_BHW.max()) + 1), column_NH, row_NW, strict=True):
        np.maximum(heat_BHW[image], np.outer(column_H, row_W).astype(np.float32), out=heat_BHW[image])
    return heat_BHW, way_B2HW


def decode(
    semantic_SHW: torch.Tensor,
    thing_KHW: torch.Tensor,
    centre_HW: torch.Tensor,
    offset_2HW: torch.Tensor,
    settings: Inference,
) -> Prediction:
    """Instances of one image: thing pixels go to the nearest centre in (pixel + offset) space (Panoptic-DeepLab, section 3.2).

    Centres are the maxima of their window above `centre_min`. The cluster of an instance is the arg-max of its
    mean thing probabilities; its score is the height of the centre times that probability. A class-agnostic
    network has one thing class, and takes the mean probability of thing instead.
    """
    things, height, width = thing_KHW.shape
    heat_HW = torch.sigmoid(centre_HW)
    peaks_N2 = _peaks(heat_HW, settings.centre_window, settings.centre_min)
    semantic_HW = semantic_SHW.argmax(dim=0)
    inside_HW = semantic_HW == 0
    stuff_HW = (semantic_HW - 1).numpy().astype(np.int16)
    probability_KHW = torch.softmax(thing_KHW, dim=0)
    foreground_HW = torch.softmax(semantic_SHW, dim=0)[0]
    masks, categories, scores = [], [], []
    if len(peaks_N2) and inside_HW.any():
        pixels_P2 = torch.nonzero(inside_HW)
        aims_P2 = pixels_P2 + offset_2HW[:, inside_HW].T
        nearest_P = torch.cdist(aims_P2, peaks_N2.to(aims_P2.dtype)).argmin(dim=1)
        for peak in range(len(peaks_N2)):
            mine_P2 = pixels_P2[nearest_P == peak]
            if len(mine_P2) == 0 or len(mine_P2) < settings.instance_area_min * height * width:
                continue
            mask_HW = torch.zeros(height, width, dtype=torch.bool)
            mask_HW[mine_P2[:, 0], mine_P2[:, 1]] = True
            mean_K = probability_KHW[:, mask_HW].mean(dim=1)
            category = int(mean_K.argmax())
            sure = foreground_HW[mask_HW].mean() if things == 1 else mean_K[category]
            masks.append(mask_HW.numpy())
            categories.append(category)
            scores.append(float(heat_HW[peaks_N2[peak, 0], peaks_N2[peak, 1]] * sure))
    thing_HW = np.where(inside_HW.numpy(), probability_KHW.argmax(dim=0).numpy(), -1).astype(np.int16)
    return Prediction(
        np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool),
        np.array(categories, dtype=np.int64),
        np.clip(np.array(scores, dtype=np.float64), 0, 1),
        stuff_HW,
        thing_HW,
    )


def _peaks(heat_HW: torch.Tensor, window: int, least: float) -> torch.Tensor:
    """Places [N, 2] that are the highest of their window and above `least`; of equal ones in a window the first."""
    before, behind = window // 2, (window - 1) // 2
    padded = F.pad(heat_HW[None, None], (before, behind, before, behind))
    highest_HW = F.max_pool2d(padded, window, stride=1)[0, 0]
    kept: list[torch.Tensor] = []
    for place in torch.nonzero((heat_HW == highest_HW) & (heat_HW > least)):
        if all((place - other).abs().max() > before for other in kept):
            kept.append(place)
    return torch.stack(kept) if kept else torch.zeros(0, 2, dtype=torch.int64)


def _two_convolutions(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
