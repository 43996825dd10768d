"""Features of the encoder of a bidirectional GAN.

Shape legend: B batch, U units (images), Z latent.
"""

import math
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset, Representation
from tasks.curves import block_means
from tasks.diffusion.features import pooled
from tasks.nn.bigan import Discriminator, Encoder, Generator, discriminator_loss, encoder_generator_loss
from tasks.nn.encoder import image_tensor
from tasks.vision.unlabeled_subset import subset_rows

Count = Annotated[int, Field(ge=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


def bigan(
    dataset: Dataset,
    *,
    latent: Count = 64,
    width: Count = 32,
    steps: Annotated[int, Field(ge=0)] = 400,
    batch_size: Annotated[int, Field(ge=2)] = 32,
    lr: Annotated[float, Field(gt=0)] = 2e-4,
    betas: Annotated[list[Momentum], Field(min_length=2, max_length=2)] = [0.5, 0.999],  # noqa: B006 (only read)
    pool: Count = 2,
    train_images: Count | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """BiGAN (Donahue et al., ICLR 2017, arXiv 1605.09782), the ancestor of BigBiGAN: the baseline of diffusion features.

    A discriminator tells pairs (image, its code) from (generated image, code drawn from N(0, I)); encoder and generator
    learn to deceive it, with the non-saturating loss. The features are the encoder's penultimate layer.

    Parameters
    ----------
    latent: dimensions of a code. width: channels of the first layer of each network; the others have 2 and 4 times as many.
    steps, batch_size: of the training, on all images of split train. lr, betas: of Adam.
    pool: the feature map is averaged over a grid of `pool` x `pool`.
    train_images: so many images of split train become units, drawn by the seed; default all.
    device: "cpu" or "cuda". seed: of weights, batches and codes.

    Returns table `units` (one per image of the splits train and test), `embedding` float32 [U, 4 width pool^2]; table
    `curves`: `discriminator_loss` (2 ln 2 = 1.39: cannot tell; 0: a collapsed generator) and `generator_loss` against the
    step, means of up to 20 steps; meta `parameters`: weights of the encoder.

    Raises ValueError: no images, images that are not square with a side that is a multiple of 8.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    images = 2 * image_tensor(dataset.arrays["images"]).permute(0, 3, 1, 2) - 1
    channels, side = images.shape[1], images.shape[2]
    if images.shape[3] != side or side % 8:
        raise ValueError(f"dataset: images of {side} x {images.shape[3]} pixels; squares of a multiple of 8 are needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = channels, side, width, latent
        encoder, generator = Encoder(*sizes).to(device), Generator(*sizes).to(device)
        discriminator = Discriminator(*sizes).to(device)
    code_stream = torch.Generator().manual_seed(seed)
    rng, rows = np.random.default_rng(seed), dataset.rows("train")
    makers = [*encoder.parameters(), *generator.parameters()]
    for_makers = torch.optim.Adam(makers, lr=lr, betas=(betas[0], betas[1]))
    for_judge = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=(betas[0], betas[1]))
    history: list[tuple[float, float]] = []
    for step in range(steps):
        x = images[rng.choice(rows, batch_size)].to(device)
        z = torch.randn(batch_size, latent, generator=code_stream).to(device)
        code, fake = encoder(x), generator(z)
        judged = discriminator_loss(discriminator(x, code.detach()), discriminator(fake.detach(), z))
        for_judge.zero_grad(set_to_none=True)
        judged.backward()
        for_judge.step()
        made = encoder_generator_loss(discriminator(x, code), discriminator(fake, z))
        for_makers.zero_grad(set_to_none=True)
        made.backward()
        for_makers.step()
        history.append((judged.item(), made.item()))
        if not math.isfinite(sum(history[-1])):
            raise FloatingPointError(f"loss is {history[-1]} at step {step}; lower lr ({lr})")
        if (step + 1) % 20 == 0 or step + 1 == steps:
            progress.report(step + 1, steps, loss=history[-1][0])
    chosen = subset_rows(dataset, train_images, seed)
    units = pd.DataFrame({"unit": np.arange(len(chosen), dtype=np.int64), "sample": chosen})
    embedding = _features(encoder.eval(), images, chosen, pool, device)
    meta = {"parameters": sum(p.numel() for p in encoder.parameters())}
    return Representation({"units": units, "curves": _curves(history)}, {"embedding": embedding}, meta=meta)


@torch.no_grad()
def _features(encoder: Encoder, images: torch.Tensor, rows: np.ndarray, pool: int, device: str) -> np.ndarray:
    parts = [encoder.features(images[part].to(device)) for part in np.array_split(rows, len(rows) // 250 + 1)]
    return torch.cat([pooled(part, pool).cpu() for part in parts]).numpy()


def _curves(history: list[tuple[float, float]]) -> pd.DataFrame:
    names = ("discriminator_loss", "generator_loss")
    tables = [block_means(name, [losses[i] for losses in history], 20) for i, name in enumerate(names)]
    return pd.concat(tables, ignore_index=True)
