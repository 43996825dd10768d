"""Feature maps of a diffusion model's U-Net at one block and one time step.

Shape legend: U units (images), S images of the sweep, C channels, G side of the pooled map.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Representation
from tasks.diffusion.checkpoint import fresh_unet, load_unet
from tasks.diffusion.features import check_step, noisy_block_outputs, pooled
from tasks.diffusion.unet import UNet
from tasks.nn.encoder import image_tensor
from tasks.vision.unlabeled_subset import subset_rows

Count = Annotated[int, Field(ge=1)]


class Sweep(BaseModel):
    """Features of all blocks at each of the time steps `t`, of `train` images of split train and all of split val."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    t: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    train: Count


def ddpm(
    dataset: Dataset,
    checkpoint: Checkpoint,
    *,
    block: int,
    t: int,
    pool: Count = 2,
    random_init: bool = False,
    train_images: Count | None = None,
    sweep: Sweep | None = None,
    batch_size: Count = 250,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """Frozen features of an unconditional diffusion model (Mukhopadhyay et al., arXiv 2307.08702).

    To each image the noise of time step `t` is added, one draw per image, and one forward pass is made.

    Parameters
    ----------
    block: whose output is the feature, from 1: the first convolution; per level of the way down its residual blocks, each
        with its attention, and its downsampling; the middle; per level of the way up its residual blocks, of which the
        last includes the upsampling.
    t: time step, 0 to 999.
    pool: the map is averaged over a grid of `pool` x `pool`.
    random_init: the network as it is before any training, a baseline.
    train_images: so many images of split train, drawn by the seed; default all.
    sweep: {t, train}: also store the features of all blocks at several time steps, for choosing `block` and `t` on val.
    batch_size, device: of the forward passes.
    seed: of the noise, of the choice of images and of random weights.

    Returns table `units` (one per image of the splits train and test), `embedding` float32 [U, C G^2]; for the sweep
    `sweep_<t>` float16 [S, all blocks' C G^2 side by side] (blocks with a map smaller than `pool` are pooled as far as
    they go) and `sweep_samples` int64 [S]; meta `block_widths`, `sweep_t`.

    Raises ValueError: `block`, `t` or `pool` out of range, a checkpoint without U-Net, too few images.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    unet = load_unet(checkpoint, device)
    if random_init:
        unet = fresh_unet(unet.config, seed).to(device).eval().requires_grad_(False)
    depth = int(checkpoint.meta.get("space_to_depth", 1))
    images = dataset.arrays["images"]
    rows = subset_rows(dataset, train_images, seed)

    embedding = []
    for outputs in _outputs(unet, images, rows, t, depth, batch_size, seed):
        if not 1 <= block <= len(outputs):
            raise ValueError(f"block: {block} is outside 1..{len(outputs)}")
        embedding.append(pooled(outputs[block - 1], pool).cpu())
    arrays = {"embedding": torch.cat(embedding).numpy()}
    meta: dict[str, Any] = {"block": block, "t": t, "pool": pool}
    if sweep is not None:
        train = rows[np.isin(rows, dataset.rows("train"))]
        chosen = np.sort(np.concatenate([train[: sweep.train], dataset.rows("val")]))
        arrays["sweep_samples"] = chosen
        for at in sweep.t:
            parts = []
            for outputs in _outputs(unet, images, chosen, at, depth, batch_size, seed):
                maps = [pooled(output, min(pool, *output.shape[2:])).cpu() for output in outputs]
                meta["block_widths"] = [feature.shape[1] for feature in maps]
                parts.append(torch.cat(maps, dim=1).half())
            arrays[f"sweep_{at}"] = torch.cat(parts).numpy()
        meta["sweep_t"] = list(sweep.t)
    units = pd.DataFrame({"unit": np.arange(len(rows), dtype=np.int64), "sample": rows})
    return Representation({"units": units}, arrays, meta=meta)


def _outputs(
    unet: UNet, images: np.ndarray, rows: np.ndarray, t: int, depth: int, batch_size: int, seed: int
) -> Iterator[list[torch.Tensor]]:
    """Outputs of all blocks, batch by batch; the noise of an image depends on seed, time step and its place in `rows`."""
    check_step(t)
    rng = np.random.default_rng([seed, t])
    for start in range(0, len(rows), batch_size):
        yield noisy_block_outputs(unet, image_tensor(images[rows[start : start + batch_size]]), t, depth, rng)
        progress.report(min(start + batch_size, len(rows)), len(rows))
