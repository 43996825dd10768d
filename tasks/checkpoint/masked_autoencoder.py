"""A small Vision Transformer pretrained by painting hidden patches, in place of public weights."""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Checkpoint, Dataset, network_of
from tasks.nn.masked_autoencoder import MaskedAutoencoder, hidden_patches, masked_loss, patches_of
from tasks.nn.training import Optimizer, train
from tasks.nn.vit import check_divisible, image_batch

Count = Annotated[int, Field(ge=1)]


def masked_autoencoder(
    dataset: Dataset,
    *,
    patch: Count,
    hidden: Count,
    layers: Count,
    heads: Count,
    mlp_ratio: Count = 4,
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6,
    decoder_hidden: Annotated[int, Field(ge=4, multiple_of=4)] = 32,
    decoder_layers: Count = 1,
    decoder_heads: Count = 2,
    epochs: Count = 20,
    batch_size: Count = 16,
    lr: Annotated[float, Field(gt=0)] = 1.0e-3,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Checkpoint:
    """Masked autoencoder (He et al., CVPR 2022, arXiv 2111.06377) on the images of split `train`.

    Images may be views of scenes [n, V, H, W, C]. Pixels are standardised per channel; patches are painted as they are,
    since a target normalised per patch would take their colour away. AdamW (weight decay 0.05), warm-up over 10 % of the
    steps, then cosine to 0.

    Parameters
    ----------
    patch: side of a patch in pixels. hidden, layers, heads: width, depth and attention heads of the encoder.
    mlp_ratio: width of its MLPs over `hidden`. mask_ratio: share of the patches that is hidden.
    decoder_hidden, decoder_layers, decoder_heads: the same of the decoder, which is dropped afterwards.
    epochs, batch_size, lr: of the training. seed: seed of the initial weights and all draws. device: where to train.

    Returns networks["vit"], a `transformers.ViTModel` without pooler; its positions form a square grid, interpolated to
    the image's; curve `loss` (x: epoch); meta `kind`, `image_mean`, `image_std`, `size`.

    Raises ValueError for images that are missing or do not divide into patches, or `hidden` that is no multiple of `heads`.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: needs the array 'images'; use a data set of images or of scenes with views")
    if hidden % heads or decoder_hidden % decoder_heads:
        raise ValueError(f"hidden: {hidden} and decoder_hidden: {decoder_hidden} must be multiples of their heads")
    images = dataset.arrays["images"][dataset.rows("train")]
    images = images.reshape(-1, *images.shape[-3:])
    height, width, channels = images.shape[1:]
    check_divisible(height, width, patch)
    everything = image_batch(images, np.arange(len(images))).double()
    mean = [round(v, 4) for v in everything.mean(dim=(0, 2, 3)).tolist()]
    std = [max(round(v, 4), 1e-4) for v in everything.std(dim=(0, 2, 3)).tolist()]
    mean_C11, std_C11 = (torch.tensor(v, device=device)[:, None, None] for v in (mean, std))
    config = ViTConfig(
        image_size=max(height, width),
        patch_size=patch,
        num_channels=channels,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp_ratio * hidden,
    )
    batches, masks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = ViTModel(config, add_pooling_layer=False)
        network = MaskedAutoencoder(
            vit, patch, channels, hidden=decoder_hidden, layers=decoder_layers, heads=decoder_heads
        )
    network.to(device).train()
    patches = (height // patch) * (width // patch)

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        pixels_BCHW = (image_batch(images, rows_B.numpy()).to(device) - mean_C11) / std_C11
        hidden_BN = hidden_patches(len(rows_B), patches, mask_ratio, masks).to(device)
        return masked_loss(network(pixels_BCHW, hidden_BN), patches_of(pixels_BCHW, patch), hidden_BN)

    curves = train(
        loss_of_batch,
        network.parameters(),
        rows=np.arange(len(images)),
        batch_size=batch_size,
        epochs=epochs,
        optimizer=Optimizer(name="adamw", lr=lr, weight_decay=0.05, schedule="cosine", warmup=0.1),
        rng=batches,
    )
    settings = {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    meta = {"kind": "vit", "image_mean": mean, "image_std": std, "size": [height, width]}
    return Checkpoint({"curves": curves}, networks={"vit": network_of(vit, settings)}, meta=meta)
