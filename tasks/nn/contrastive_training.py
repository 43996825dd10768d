"""Training an encoder with a contrastive loss on two views of each image, against the batch or a queue of keys.

Shape legend: B images of a batch, D dimensions, Q length of the queue, n samples of the data set.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

from tasks.artifacts import Dataset, Representation
from tasks.nn.contrastive_losses import EMPTY, Pairs, queue_pairs, view_pairs
from tasks.nn.encoder import Encoder, encoder_from_config, image_tensor
from tasks.nn.training import Optimizer, train
from tasks.readers.long_tail import class_sizes
from tasks.vision.augmentation import Augmentation, augment

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Schedule:
    """How long and how a network is trained. `queue` 0: the batch's other views are the candidates."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    augmentation: Augmentation
    queue: int = 0
    momentum: float = 0.999


@dataclass(frozen=True)
class LabeledImages:
    """Images [n, H, W, C] of a data set, the rows of split train, and `class_n` int64 [n], -1 off those rows."""

    images: np.ndarray
    rows: np.ndarray
    class_n: np.ndarray

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(image_tensor(self.images[:1]).shape[1:])  # type: ignore[return-value]


def labeled_images(dataset: Dataset) -> LabeledImages:
    """Training images with their given labels; ValueError unless those are 0..C-1 with no class absent."""
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    rows = dataset.rows("train")
    labels = dataset.labels("given_label", rows)
    names = dataset.meta.get("class_names")
    class_sizes(labels, None if names is None else len(names), what="given_label of train")
    class_n = np.full(len(dataset.samples), -1, dtype=np.int64)
    class_n[rows] = labels
    return LabeledImages(dataset.arrays["images"], rows, class_n)


def train_contrastive(
    network: Encoder,
    data: LabeledImages,
    loss_of_pairs: Callable[[Pairs], torch.Tensor],
    schedule: Schedule,
    *,
    seed: np.random.SeedSequence,
    device: Device = "cpu",
    before_epoch: Callable[[int, Encoder], None] | None = None,
) -> pd.DataFrame:
    """Minimise `loss_of_pairs` over `network`'s normalised projections; returns the curve table `loss`.

    With `schedule.queue`, queries of the network meet keys of a slowly following copy (He et al., CVPR 2020, arXiv
    1911.05722): copy <- momentum * copy + (1 - momentum) * network after each step. Keys of all images of the batch
    see batch statistics together (no shuffling among devices). `before_epoch(epoch, encoder)` is given that copy,
    else the network itself. Images are augmented on the CPU, so every device sees the same views.
    """
    order, view_stream = seed.spawn(2)
    views = torch.Generator().manual_seed(int(view_stream.generate_state(1)[0]))
    network.to(device).train()
    follower = copy.deepcopy(network).requires_grad_(False) if schedule.queue else network
    memory = KeyQueue(schedule.queue, _projection_size(network, data), device) if schedule.queue else None

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        images_BHWC = image_tensor(data.images[rows_B.numpy()])
        first, second = (augment(images_BHWC, schedule.augmentation, views).to(device) for _ in range(2))
        rows_B = rows_B.to(device)
        if memory is None:
            z_AD = normalize(network(torch.cat([first, second])), dim=1)
            return loss_of_pairs(view_pairs(z_AD.unflatten(0, (2, -1)), rows_B))
        query_BD = normalize(network(first), dim=1)
        with torch.no_grad():
            key_BD = normalize(follower(second), dim=1)
        loss = loss_of_pairs(queue_pairs(query_BD, key_BD, memory.keys_QD, rows_B, memory.rows_Q))
        memory.push(key_BD, rows_B)
        return loss

    def follow(step: int, total: int) -> None:
        if follower is not network:
            follow_network(follower, network, schedule.momentum)

    return train(
        loss_of_batch,
        network.parameters(),
        rows=data.rows,
        batch_size=schedule.batch_size,
        epochs=schedule.epochs,
        optimizer=schedule.optimizer,
        rng=np.random.default_rng(order),
        before_epoch=None if before_epoch is None else lambda epoch: before_epoch(epoch, follower),
        after_step=follow,
    )


class KeyQueue:
    """The latest keys and the samples they belong to.

    Samples rather than class and subclass ids: ids are looked up when the loss is computed, so none is stale after
    the subclasses have been numbered anew.
    """

    def __init__(self, length: int, dim: int, device: Device = "cpu"):
        self.keys_QD = torch.zeros(length, dim, device=device)
        self.rows_Q = torch.full((length,), EMPTY, dtype=torch.long, device=device)
        self._next = 0

    def push(self, key_BD: torch.Tensor, rows_B: torch.Tensor) -> None:
        """Overwrite the oldest keys; of more keys than the queue holds, the last ones stay."""
        length = len(self.rows_Q)
        key_BD, rows_B = key_BD[-length:], rows_B[-length:]
        slots = (self._next + torch.arange(len(rows_B), device=rows_B.device)) % length
        # New tensors, because the graph of the last loss still holds the old ones.
        self.keys_QD = self.keys_QD.index_copy(0, slots, key_BD.detach())
        self.rows_Q = self.rows_Q.index_copy(0, slots, rows_B)
        self._next = (self._next + len(rows_B)) % length


@torch.no_grad()
def follow_network(follower: torch.nn.Module, network: torch.nn.Module, momentum: float) -> None:
    """follower <- momentum * follower + (1 - momentum) * network for parameters; buffers are copied."""
    for slow, fast in zip(follower.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
    for slow, fast in zip(follower.buffers(), network.buffers(), strict=True):
        slow.copy_(fast)


@torch.no_grad()
def features(network: torch.nn.Module, images: np.ndarray, rows: np.ndarray, chunk: int = 512) -> np.ndarray:
    """`network` on the clean `images[rows]` in evaluation mode, float32 [rows, D], a chunk in memory at a time."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    parts = [network(image_tensor(images[rows[i : i + chunk]]).to(device)).cpu() for i in range(0, len(rows), chunk)]
    network.train(training)
    return torch.cat(parts).numpy()


def projected(network: Encoder, data: LabeledImages, temperature: float) -> Representation:
    """Unit-length projections of the clean training images, one unit per training row in row order."""
    z_ND = features(network, data.images, data.rows)
    norms = np.linalg.norm(z_ND, axis=1, keepdims=True)
    if not np.isfinite(z_ND).all() or not (norms > 0).all():
        raise ValueError("representation: a projection is zero, NaN or infinite; lower optimizer.lr")
    units = pd.DataFrame({"unit": np.arange(len(data.rows), dtype=np.int64), "sample": data.rows})
    return Representation({"units": units}, {"embedding": z_ND / norms}, meta={"temperature": temperature})


def warm_start(
    representation: Representation, augmentation: Augmentation | None = None, temperature: float | None = None
) -> tuple[Encoder, Augmentation, float]:
    """The representation's encoder, and the settings it was trained with where none are given.

    Raises ValueError: no encoder; a setting neither given nor known.
    """
    if "encoder" not in representation.networks:
        raise ValueError("representation: network 'encoder' is needed and absent; use pretrain.supervised_contrastive")
    meta = representation.meta
    for name, value in (("augmentation", augmentation), ("temperature", temperature)):
        if value is None and name not in meta:
            raise ValueError(f"{name}: the representation was trained with none; set '{name}'")
    start = representation.networks["encoder"]
    return (
        encoder_from_config(start.config, start.state),
        Augmentation(**meta["augmentation"]) if augmentation is None else augmentation,
        float(meta["temperature"]) if temperature is None else temperature,
    )


def _projection_size(network: Encoder, data: LabeledImages) -> int:
    return features(network, data.images, data.rows[:1]).shape[1]
