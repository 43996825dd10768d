"""An encoder trained by supervised contrast of two views."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Representation, network_of
from tasks.nn.contrastive_losses import Pairs, supcon
from tasks.nn.contrastive_training import Device, Schedule, labeled_images, projected, train_contrastive
from tasks.nn.encoder import EncoderSettings, build_encoder
from tasks.nn.training import Optimizer
from tasks.vision.augmentation import Augmentation


def supervised_contrastive(
    dataset: Dataset,
    *,
    encoder: EncoderSettings,
    augmentation: Augmentation,
    temperature: Annotated[float, Field(gt=0)] = 0.1,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)],
    optimizer: Optimizer,
    queue: Annotated[int, Field(ge=0)] = 0,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    positives: Annotated[int, Field(ge=1)] | None = None,
    device: Device = "cpu",
    seed: int,
) -> Representation:
    """SupCon from scratch (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2) on the given labels of split train.

    Parameters
    ----------
    encoder: backbone and projection head.
    augmentation: what makes the two views of an image; later stages take it from here.
    temperature: of the softmax over candidates; later stages take it from here.
    epochs: passes over train; 0 leaves the random initialisation.
    batch_size: images per step, two views each. optimizer: with its learning-rate schedule over these epochs.
    queue: 0: candidates are the other views of the batch. Else the last `queue` keys of a momentum encoder (MoCo:
        He et al., CVPR 2020, arXiv 1911.05722), whose momentum is `momentum`.
    positives: at most that many random positives of the class beside the own view (KCL: Kang et al., ICLR 2021);
        default: all.
    device: where the network runs; images are augmented on the CPU.

    Returns one unit per row of split train, `embedding` float32 [train rows, P]: the projection of the clean image
    in evaluation mode, scaled to unit length; networks["encoder"] with its head; curve `loss`.

    Raises ValueError: no images, labels missing or not 0..C-1 on train, a class without images.
    """
    data = labeled_images(dataset)
    network_stream, training_stream, draw_stream = np.random.SeedSequence(seed).spawn(3)
    network = build_encoder(encoder, data.image_shape, int(network_stream.generate_state(1)[0]))
    class_n = torch.from_numpy(data.class_n).to(device)
    draws = torch.Generator().manual_seed(int(draw_stream.generate_state(1)[0]))

    def loss(pairs: Pairs) -> torch.Tensor:
        return supcon(pairs, class_n, temperature, positives=positives, generator=draws)

    schedule = Schedule(epochs, batch_size, optimizer, augmentation, queue, momentum)
    curves = train_contrastive(network, data, loss, schedule, seed=training_stream, device=device)
    representation = projected(network, data, temperature)
    representation.meta["augmentation"] = augmentation.model_dump()
    representation.tables["curves"] = curves
    representation.networks["encoder"] = network_of(network, network.config())
    return representation
