"""Patch features of a frozen Vision Transformer.

Shape legend: n images, h, w patch grid, D features, C channels, H, W pixels.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy.ndimage import gaussian_filter

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Representation
from tasks.nn.vit import check_divisible, image_batch, load_vit, patch_side, preprocess, vit_features
from tasks.vision.image_files import ImageSize, height_width, resize_images


def dino_features(
    dataset: Dataset,
    checkpoint: Checkpoint,
    *,
    features: Literal["patch_tokens", "key", "last", "linear_patch"],
    smooth: Annotated[float, Field(ge=0)] = 0.0,
    image_size: ImageSize | None = None,
    batch_size: Annotated[int, Field(ge=1)] = 32,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Representation:
    """Features of all patches of all images from the checkpoint's ViT, which stays as it is.

    MaskCut (CutLER, CVPR 2023, arXiv 2301.11320, section 3.1) reads the keys of the last attention block of DINO
    (arXiv 2104.14294), as TokenCut (arXiv 2202.11539) does. A ViT trained in a minute on small images has better
    dense features in its patch embedding than in its last block.

    Parameters
    ----------
    features: "key" (key vectors of the last block, all heads side by side), "last" (tokens after the final LayerNorm),
        "patch_tokens" (output of the patch embedding, before positions are added) or "linear_patch" (the normalised
        pixels of the patch themselves, which needs no training: a baseline).
    smooth: standard deviation, in patches, of a Gaussian over the grid; 0 is off.
    image_size: side, or [height, width], that images are stretched to; default: as they are. Both sides must be
        multiples of the ViT's patch; they need not be equal.
    batch_size, device: of the forward passes.

    Returns table `units`, one row per patch in the order sample, row, column; `embedding` float32 [n h w, D]; `cls`
    float32 [n, D'], the CLS token after the final LayerNorm; meta: `grid` [h, w], `patch`, `features`.

    Raises ValueError: no images, a side that is no multiple of the patch, a checkpoint without ViT or of other
    channels.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: needs the array 'images'; use a data set of images")
    images = dataset.arrays["images"]
    vit = load_vit(checkpoint, device)
    patch = patch_side(vit)
    height, width = images.shape[1:3] if image_size is None else height_width(image_size)
    check_divisible(height, width, patch)
    grid = (height // patch, width // patch)
    n = len(images)
    embedding, cls = [], []
    for start in range(0, n, batch_size):
        batch = images[start : start + batch_size]
        if image_size is not None:
            batch = resize_images(batch if batch.ndim == 4 else batch[..., None], image_size)
        pixels = preprocess(image_batch(batch, np.arange(len(batch))).to(device), vit, checkpoint.meta)
        tokens, cls_token = vit_features(vit, pixels, "last" if features == "linear_patch" else features)
        if features == "linear_patch":
            tokens = torch.nn.functional.unfold(pixels, patch, stride=patch).transpose(1, 2)
        tokens_bhwD = tokens.cpu().numpy().reshape(len(batch), *grid, -1)
        if smooth:
            tokens_bhwD = gaussian_filter(tokens_bhwD, (0, smooth, smooth, 0), mode="nearest")
        embedding.append(tokens_bhwD.reshape(-1, tokens_bhwD.shape[-1]))
        cls.append(cls_token.cpu().numpy())
        progress.report(min(start + batch_size, n), n)
    return Representation(
        {"units": _units(n, *grid)},
        {"embedding": np.concatenate(embedding), "cls": np.concatenate(cls)},
        meta={"grid": list(grid), "patch": patch, "features": features},
    )


def _units(n: int, height: int, width: int) -> pd.DataFrame:
    sample, row, column = (axis.ravel() for axis in np.indices((n, height, width)))
    return pd.DataFrame({"unit": np.arange(n * height * width), "sample": sample, "row": row, "column": column})
