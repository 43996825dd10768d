"""Supervised contrast continued from a warm-up: the baseline of contrastive self-training."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Model, Representation, network_of
from tasks.nn.contrastive_losses import Pairs, supcon
from tasks.nn.contrastive_training import Device, Schedule, features, labeled_images, train_contrastive, warm_start
from tasks.nn.training import Optimizer
from tasks.vision.augmentation import Augmentation


def supervised_contrastive(
    dataset: Dataset,
    representation: Representation,
    *,
    augmentation: Augmentation | None = None,
    temperature: Annotated[float, Field(gt=0)] | None = None,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)],
    optimizer: Optimizer,
    queue: Annotated[int, Field(ge=0)] = 0,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    positives: Annotated[int, Field(ge=1)] | None = None,
    device: Device = "cpu",
    seed: int,
) -> Model:
    """SupCon (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2) from the representation's encoder onwards.

    Parameters
    ----------
    augmentation: what makes the two views of an image. temperature: of the softmax over candidates. Default of
        both: what the representation was trained with.
    epochs: passes over split train. batch_size: images per step, two views each.
    optimizer: created anew, with its schedule over these epochs.
    queue, momentum, positives: candidates and positives, as in the step of this name in stage pretrain.
    device: where the network runs; images are augmented on the CPU.

    Returns networks["encoder"], `embedding` float32 [n, D] of ALL samples (backbone feature of the clean image,
    neither projected nor normalised), curve `loss`.

    Raises ValueError: no encoder to continue, no temperature or augmentation, labels missing or not 0..C-1 on train.
    """
    network, views, t = warm_start(representation, augmentation, temperature)
    data = labeled_images(dataset)
    training_stream, draw_stream = np.random.SeedSequence(seed).spawn(2)
    class_n = torch.from_numpy(data.class_n).to(device)
    draws = torch.Generator().manual_seed(int(draw_stream.generate_state(1)[0]))

    def loss(pairs: Pairs) -> torch.Tensor:
        return supcon(pairs, class_n, t, positives=positives, generator=draws)

    schedule = Schedule(epochs, batch_size, optimizer, views, queue, momentum)
    curves = train_contrastive(network, data, loss, schedule, seed=training_stream, device=device)
    embedding = features(network.backbone, data.images, np.arange(len(data.images)))
    return Model({"curves": curves}, {"embedding": embedding}, {"encoder": network_of(network, network.config())})
