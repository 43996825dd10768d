"""Training a network on several views of each image, without labels; shared by the methods that compare views.

Shape legend: n samples, S snapshots, B batch, V views, D feature, P projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch

from tasks.artifacts import Dataset, Representation, network_of
from tasks.nn.contrastive_training import features
from tasks.nn.encoder import image_tensor
from tasks.nn.lars import scale_gradients
from tasks.nn.projection_encoder import ProjectionEncoder, ProjectionEncoderSettings
from tasks.nn.training import Optimizer, train
from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Blur, Crops, crop_views

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Schedule:
    """How views are made and how long a network is trained on them.

    `lars_trust`: trust coefficient of LARS in front of the optimiser, None: no LARS. `snapshots`: how many times the
    features of all samples are kept on the way, evenly over the epochs, beside those before training.
    """

    crops: list[Crops]
    augmentation: Augmentation
    blur: Blur | None
    epochs: int
    batch_size: int
    optimizer: Optimizer
    lars_trust: float | None = None
    snapshots: int = 0
    device: Device = "cpu"


@dataclass(frozen=True)
class Trained:
    """`curves`: table with curve `loss`; `embeddings` float32 [S, n, D] after `epochs` int64 [S]."""

    curves: pd.DataFrame
    epochs: np.ndarray
    embeddings: np.ndarray


def images_of(dataset: Dataset) -> np.ndarray:
    """The images of a data set; ValueError without any."""
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    return dataset.arrays["images"]


def image_shape(images: np.ndarray, encoder: ProjectionEncoderSettings, crops: list[Crops]) -> tuple[int, int, int]:
    """(H, W, C) of the images; ValueError if the backbone cannot take the crops as well as the images."""
    _, height, width, channels = image_tensor(images[:1]).shape
    other = [c.size for c in crops if (c.size, c.size) != (height, width)]
    if encoder.architecture == "mlp" and other:
        raise ValueError(
            f"crops: size {other[0]}: an mlp needs the size of the images, {height} x {width}, or use conv"
        )
    return height, width, channels


def train_on_views(
    network: ProjectionEncoder,
    dataset: Dataset,
    loss_of_views: Callable[[torch.Tensor, int], torch.Tensor],
    schedule: Schedule,
    *,
    parameters: Iterable[torch.nn.Parameter] = (),
    before_epoch: Callable[[int], None] | None = None,
    seed: np.random.SeedSequence,
) -> Trained:
    """Minimise `loss_of_views(z_VBP, step)` over split train; z are the unit projections of the views of a batch.

    `parameters` are learned beside the network's own. The last, incomplete batch of an epoch is left out. Views are made
    on the CPU, so that every device sees the same.
    """
    images, rows = images_of(dataset), dataset.rows("train")
    order, view_stream = seed.spawn(2)
    generator = torch.Generator().manual_seed(int(view_stream.generate_state(1)[0]))
    network.to(schedule.device).train()
    learned = [*network.parameters(), *parameters]
    optimizer = schedule.optimizer
    if schedule.lars_trust is not None:
        scale_gradients(learned, schedule.lars_trust, optimizer.weight_decay)
        optimizer = optimizer.model_copy(update={"weight_decay": 0.0})
    kept_epochs = np.unique(np.linspace(0, schedule.epochs, schedule.snapshots + 1).round().astype(np.int64))
    kept: list[np.ndarray] = []

    def keep(epoch: int) -> None:
        if schedule.snapshots and epoch in kept_epochs:
            kept.append(features(network, images, np.arange(len(images))))

    def at_start_of_epoch(epoch: int) -> None:
        keep(epoch)
        if before_epoch is not None:
            before_epoch(epoch)

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        batch_BHWC = image_tensor(images[rows_B.numpy()])
        views = crop_views(batch_BHWC, schedule.crops, schedule.augmentation, schedule.blur, generator)
        return loss_of_views(network.project([view.to(schedule.device) for view in views]), step)

    curves = train(
        loss_of_batch,
        learned,
        rows=rows,
        batch_size=schedule.batch_size,
        epochs=schedule.epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(order),
        before_epoch=at_start_of_epoch,
        drop_last=True,
    )
    keep(schedule.epochs)
    return Trained(curves, kept_epochs[: len(kept)], np.array(kept))


def representation_of(network: ProjectionEncoder, dataset: Dataset, trained: Trained) -> Representation:
    """One unit per sample: `embedding` float32 [n, D], the feature of the clean image in evaluation mode; the network,
    curves, and `embedding_by_epoch` float32 [S, n, D] with `snapshot_epochs` int64 [S] if snapshots were kept."""
    unit = np.arange(len(dataset.samples), dtype=np.int64)
    arrays = {"embedding": features(network, images_of(dataset), unit)}
    if len(trained.epochs):
        arrays |= {"embedding_by_epoch": trained.embeddings, "snapshot_epochs": trained.epochs}
    return Representation(
        {"units": pd.DataFrame({"unit": unit, "sample": unit}), "curves": trained.curves},
        arrays,
        {"encoder": network_of(network, network.config())},
    )
