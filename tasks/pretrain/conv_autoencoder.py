"""Codes of a convolutional denoising autoencoder."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Representation, network_of
from tasks.curves import curve_table
from tasks.nn.early_stopping import BestWeights, hold_out
from tasks.nn.layerwise_autoencoder import (
    AutoencoderSettings,
    build_autoencoder,
    clean_codes,
    clean_loss,
    reconstruction_loss,
    signed_images,
)
from tasks.nn.training import Optimizer, train

Weight = Annotated[float, Field(ge=0)]


def conv_autoencoder(
    dataset: Dataset,
    *,
    autoencoder: AutoencoderSettings = AutoencoderSettings(),  # noqa: B008 (frozen)
    hidden_weight: Weight = 0.1,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)] = 100,
    optimizer: Optimizer,
    patience: Annotated[int, Field(ge=1)] = 100,
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    fit_on: Literal["train", "all"] = "all",
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """The autoencoder of DEPICT (Ghasedi Dizaji et al., ICCV 2017, arXiv 1704.06327, section 3.2).

    The decoder, fed the code of the noisy input, reconstructs the input and the output of every convolution for the clean
    input: sum over levels of c_l * mean squared error.

    Parameters
    ----------
    autoencoder: layers and dropout.
    hidden_weight: c_l of the hidden levels beside 1 for the image; the paper has 1, its code 0.1; 0 is a plain
        denoising autoencoder.
    epochs: passes at most; 0 leaves the random initialisation. batch_size: images per step. optimizer: as declared.
    patience: epochs without a better loss of the clean path on held-out images after which training ends; the best
        weights are kept. held_out: share of those images, drawn without regard to labels.
    fit_on: images of split `train`, or all images. device: where the network runs.

    Returns one unit per sample, `embedding` float32 [n, code]: the clean code, in -1..1; network "autoencoder"; curves `loss`
    and `held_out_loss`; meta `hidden_weight`, `reconstruction` (mean loss of the clean path over all samples).

    Raises ValueError: no images, layers that do not fit them, a single image.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    images = dataset.arrays["images"]
    every = np.arange(len(dataset.samples))
    streams = np.random.SeedSequence(seed).spawn(4)
    network_seed, noise_seed = (int(stream.generate_state(1)[0]) for stream in streams[:2])
    _, channels, height, width = signed_images(images[:1]).shape
    network = build_autoencoder(autoencoder, (height, width, channels), network_seed).to(device)
    noise = torch.Generator().manual_seed(noise_seed)
    rows = every if fit_on == "all" else dataset.rows("train")
    fitted, held = hold_out(rows, held_out, np.random.default_rng(streams[2]))
    best, held_losses = BestWeights(network, patience), []

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        x_BCHW = signed_images(images[rows_B.numpy()]).to(device)
        clean, _ = network.encode(x_BCHW)
        _, noisy_code_BD = network.encode(x_BCHW, noise)
        return reconstruction_loss(clean, network.decode(noisy_code_BD), hidden_weight)

    def after_epoch(epoch: int) -> bool:
        held_losses.append(clean_loss(network, images, held, hidden_weight))
        return best.see(-held_losses[-1])

    loss = train(
        loss_of_batch,
        network.parameters(),
        rows=fitted,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(streams[3]),
        after_epoch=after_epoch,
    )
    best.restore()
    reconstruction = clean_loss(network, images, every, hidden_weight)
    curves = pd.concat([loss, curve_table("held_out_loss", loss["x"], held_losses)], ignore_index=True)
    return Representation(
        {"units": pd.DataFrame({"unit": every, "sample": every}), "curves": curves},
        {"embedding": clean_codes(network, images, every)},
        {"autoencoder": network_of(network, network.config())},
        meta={"hidden_weight": hidden_weight, "reconstruction": reconstruction},
    )
