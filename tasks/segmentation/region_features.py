"""One feature vector per mask.

Shape legend: M masks, n images, H, W pixels, h, w patch grid, D features.
"""

import numpy as np
import torch
from torch.nn.functional import interpolate

from tasks.artifacts import Checkpoint
from tasks.nn.vit import image_batch, load_vit, preprocess, vit_features

_BATCH = 64


def upsample(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest neighbour of the last two axes [..., h, w] to [..., H, W]."""
    rows = (np.arange(height) * 2 + 1) * grid.shape[-2] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * grid.shape[-1] // (2 * width)
    return grid[..., rows[:, None], columns]


def patch_coverage(mask_HW: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Pixels of the mask in each patch, float64 [h, w]."""
    numbers = upsample(np.arange(grid[0] * grid[1]).reshape(grid), *mask_HW.shape)
    return np.bincount(numbers[mask_HW], minlength=grid[0] * grid[1]).reshape(grid).astype(np.float64)


def masked_means(masks_MHW: np.ndarray, owner_M: np.ndarray, features_nhwD: np.ndarray) -> np.ndarray:
    """Mean feature of each mask over its pixels, float32 [M, D]."""
    means = np.empty((len(masks_MHW), features_nhwD.shape[-1]), dtype=np.float32)
    for index, (mask_HW, owner) in enumerate(zip(masks_MHW, owner_M, strict=True)):
        weight_hw = patch_coverage(mask_HW, features_nhwD.shape[1:3])
        mean_D = np.einsum("hw,hwd->d", weight_hw, np.asarray(features_nhwD[owner], dtype=np.float64))
        means[index] = mean_D / weight_hw.sum()
    return means


def crop_cls(
    masks_MHW: np.ndarray,
    owner_M: np.ndarray,
    images: np.ndarray,
    checkpoint: Checkpoint,
    size: tuple[int, int],
    device: str = "cpu",
) -> np.ndarray:
    """CLS token [M, D] of each mask's own crop: other pixels black, cut to its box, stretched to `size`."""
    vit = load_vit(checkpoint, device)
    parts = []
    for start in range(0, len(masks_MHW), _BATCH):
        rows = range(start, min(start + _BATCH, len(masks_MHW)))
        crops = torch.cat([_crop(masks_MHW[i], images, int(owner_M[i]), size) for i in rows]).to(device)
        parts.append(vit_features(vit, preprocess(crops, vit, checkpoint.meta), "last")[1].cpu().numpy())
    return np.concatenate(parts)


def _crop(mask_HW: np.ndarray, images: np.ndarray, owner: int, size: tuple[int, int]) -> torch.Tensor:
    y, x = np.nonzero(mask_HW)
    box = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    image_1CHW = image_batch(images, np.array([owner])) * torch.from_numpy(np.array(mask_HW, dtype=np.float32))
    return interpolate(image_1CHW[:, :, box[0], box[1]], size=size, mode="bilinear", align_corners=False)
