"""Contrast of two views of each image with all others of the batch."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Representation
from tasks.nn.contrastive_losses import nt_xent, view_pairs
from tasks.nn.projection_encoder import ProjectionEncoderSettings, build_projection_encoder
from tasks.nn.training import Optimizer
from tasks.nn.view_training import Device, Schedule, image_shape, images_of, representation_of, train_on_views
from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Blur, Crops


def simclr(
    dataset: Dataset,
    *,
    encoder: ProjectionEncoderSettings,
    crops: Annotated[list[Crops], Field(min_length=1)],
    augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
    blur: Blur | None = None,
    temperature: Annotated[float, Field(gt=0)] = 0.2,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=2)],
    optimizer: Optimizer,
    lars_trust: Annotated[float, Field(gt=0)] | None = None,
    snapshots: Annotated[int, Field(ge=0)] = 0,
    device: Device = "cpu",
    seed: int,
) -> Representation:
    """SimCLR (Chen et al., ICML 2020, arXiv 2002.05709): NT-Xent between the views of an image, others are negatives.

    Parameters
    ----------
    encoder: backbone and head. crops: groups of views, at least two in all; augmentation, blur: applied to each.
    temperature: of the softmax over the other views of the batch.
    epochs: passes over split train; 0 leaves the random initialisation. batch_size: images per step.
    optimizer: with its learning-rate schedule. lars_trust: trust coefficient of LARS in front of it.
    snapshots: how often features are kept during training. device: where the network runs.

    Returns one unit per sample, `embedding` float32 [n, D] (backbone), network "encoder", curve `loss`; snapshots as
    `embedding_by_epoch`.

    Raises ValueError: a single view, crops that the backbone cannot take.
    """
    shape = image_shape(images_of(dataset), encoder, crops)
    if sum(group.n for group in crops) < 2:
        raise ValueError("crops: a single view has no other to be compared with; give two")
    network_stream, training_stream = np.random.SeedSequence(seed).spawn(2)
    network = build_projection_encoder(encoder, shape, int(network_stream.generate_state(1)[0]))

    def loss_of_views(z_VBP: torch.Tensor, step: int) -> torch.Tensor:
        return nt_xent(view_pairs(z_VBP), temperature)

    schedule = Schedule(crops, augmentation, blur, epochs, batch_size, optimizer, lars_trust, snapshots, device)
    trained = train_on_views(network, dataset, loss_of_views, schedule, seed=training_stream)
    return representation_of(network, dataset, trained)
