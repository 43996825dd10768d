"""Swapping assignments between views.

Shape legend: n samples, B batch, V views, K prototypes, P projection.
"""

import math
import warnings
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn.functional import normalize

from tasks.artifacts import Dataset, Representation
from tasks.curves import curve_table
from tasks.metrics.cluster_sizes import normalised_entropy
from tasks.nn.contrastive_training import features
from tasks.nn.dino_loss import view_loss
from tasks.nn.projection_encoder import ProjectionEncoderSettings, build_projection_encoder
from tasks.nn.sinkhorn import FeatureQueue, codes_with_queue
from tasks.nn.training import Optimizer
from tasks.nn.view_training import Device, Schedule, image_shape, images_of, representation_of, train_on_views
from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Blur, Crops

ASSIGNED = 2  # views that give codes
LEAST_BATCH = 0.1  # of the prototypes: below, a batch is far from using all of them

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


def swav(
    dataset: Dataset,
    *,
    encoder: ProjectionEncoderSettings,
    crops: Annotated[list[Crops], Field(min_length=1)],
    augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
    blur: Blur | None = None,
    n_prototypes: Annotated[int, Field(ge=2)],
    temperature: Positive = 0.1,
    epsilon: Positive = 0.05,
    sinkhorn_iterations: Count = 3,
    freeze_prototypes_epochs: Count = 1,
    queue_length: Count = 0,
    queue_starts_epoch: Count = 15,
    epochs: Count,
    batch_size: Annotated[int, Field(ge=2)],
    optimizer: Optimizer,
    lars_trust: Positive | None = None,
    snapshots: Count = 0,
    device: Device = "cpu",
    seed: int,
) -> Representation:
    """SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882): each view predicts the balanced code of the others.

    The codes of the first two views are soft assignments to `n_prototypes` learned unit vectors that Sinkhorn-Knopp
    balances over the batch. The loss is the cross-entropy of a code with softmax(scores / `temperature`) of another
    view, averaged over all such pairs; it moves features and prototypes, codes are constants.

    Parameters
    ----------
    encoder: backbone and head.
    crops: groups of views; the first must have at least two, which give codes. Smaller views only predict (multi-crop).
    augmentation, blur: applied to each view after it is cropped.
    temperature: of predictions. epsilon: of codes. sinkhorn_iterations: 0 leaves codes unbalanced (an ablation).
    freeze_prototypes_epochs: first epochs in which prototypes do not learn.
    queue_length: features of former batches, for each of the two views, over which codes are balanced too; rounded down
        to whole batches, from epoch `queue_starts_epoch` (from 0) on.
    epochs: passes over split train; 0 leaves the random initialisation. batch_size: images per step.
    optimizer: its learning rate warms up from 0 and falls to 0 (the paper's: from 1/16 and to 1/1000 of the highest).
    lars_trust: trust coefficient of LARS, in front of the optimiser.
    snapshots: how often features are kept during training, for the curve of the linear probe.
    device: where the network runs; images are augmented on the CPU.

    Returns one unit per sample, `embedding` float32 [n, D] (backbone), `projection` float32 [n, P] and `prototypes`
    float32 [K, P] of unit length, network "encoder"; curves `loss` and `prototype_entropy` (of the codes' largest
    entries over an epoch, as a share of log K); snapshots as `embedding_by_epoch`.

    Raises ValueError: fewer than two views that give codes or two training images, crops that the backbone cannot take.
    Warns if the batch has less than a tenth as many images as there are prototypes, or all images are equal.
    """
    if crops[0].n < ASSIGNED:
        raise ValueError(f"crops: the first group has {crops[0].n} view, at least {ASSIGNED} must give codes")
    images, train_rows = images_of(dataset), dataset.rows("train")
    shape = image_shape(images, encoder, crops)
    if len(train_rows) < 2:
        raise ValueError("dataset: a single training image has no other to be balanced with")
    batch = min(batch_size, len(train_rows))
    queue_rows = queue_length - queue_length % batch
    if batch < LEAST_BATCH * n_prototypes and not queue_rows:
        warnings.warn(
            f"batch_size: {batch} images can hardly use {n_prototypes} prototypes; set queue_length", stacklevel=2
        )
    # Row by row: the first that differs ends it, and images may be more than memory holds.
    if all(np.array_equal(images[row], images[train_rows[0]]) for row in train_rows):
        warnings.warn("dataset: all training images are equal; every code will be uniform", stacklevel=2)
    network_stream, prototype_stream, training_stream = np.random.SeedSequence(seed).spawn(3)
    network = build_projection_encoder(encoder, shape, int(network_stream.generate_state(1)[0]))
    generator = torch.Generator().manual_seed(int(prototype_stream.generate_state(1)[0]))
    bound = 1 / math.sqrt(encoder.projection)
    prototypes_KP = torch.empty(n_prototypes, encoder.projection).uniform_(-bound, bound, generator=generator)
    prototypes_KP = torch.nn.Parameter(prototypes_KP.to(device))

    steps_per_epoch = max(1, len(train_rows) // batch_size)
    queues: list[FeatureQueue | None] = [None] * ASSIGNED
    usage_EK: list[torch.Tensor] = []

    def before_epoch(epoch: int) -> None:
        usage_EK.append(torch.zeros(n_prototypes))
        if queue_rows and epoch == queue_starts_epoch:
            queues[:] = [FeatureQueue(queue_rows, encoder.projection, device) for _ in range(ASSIGNED)]

    def loss_of_views(z_VBP: torch.Tensor, step: int) -> torch.Tensor:
        with torch.no_grad():
            prototypes_KP.copy_(normalize(prototypes_KP, dim=1))
        prototypes_KP.requires_grad_(step >= freeze_prototypes_epochs * steps_per_epoch)
        codes_ABK = torch.stack(
            [
                codes_with_queue(z_BP.detach(), queue, prototypes_KP, epsilon, sinkhorn_iterations)
                for z_BP, queue in zip(z_VBP[:ASSIGNED], queues, strict=True)
            ]
        )
        usage_EK[-1] += torch.bincount(codes_ABK.argmax(dim=2).flatten(), minlength=n_prototypes).cpu()
        return view_loss(codes_ABK, z_VBP @ prototypes_KP.T, temperature)

    trained = train_on_views(
        network,
        dataset,
        loss_of_views,
        Schedule(crops, augmentation, blur, epochs, batch_size, optimizer, lars_trust, snapshots, device),
        parameters=[prototypes_KP],
        before_epoch=before_epoch,
        seed=training_stream,
    )
    entropies = [normalised_entropy(usage_K.numpy()) for usage_K in usage_EK]
    entropy = curve_table("prototype_entropy", range(1, len(entropies) + 1), entropies)
    representation = representation_of(network, dataset, trained)
    representation.tables["curves"] = pd.concat([trained.curves, entropy], ignore_index=True)
    projection = features(torch.nn.Sequential(network, network.head), images, np.arange(len(images)))
    representation.arrays["projection"] = projection / np.linalg.norm(projection, axis=1, keepdims=True)
    representation.arrays["prototypes"] = normalize(prototypes_KP.detach().cpu(), dim=1).numpy()
    return representation
