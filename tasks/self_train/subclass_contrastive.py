"""Subclass-balancing contrast: subclasses are told apart, and gathered in their classes.

Shape legend: n samples, C classes, D dimensions.
"""

from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from sklearn.metrics import adjusted_rand_score

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation, network_of
from tasks.cluster.within_class_kmeans import within_class_kmeans
from tasks.curves import curve_table
from tasks.nn.contrastive_losses import Pairs, subclass_balancing
from tasks.nn.contrastive_training import (
    Device,
    LabeledImages,
    Schedule,
    features,
    labeled_images,
    projected,
    train_contrastive,
    warm_start,
)
from tasks.nn.encoder import Encoder
from tasks.nn.training import Optimizer
from tasks.pseudo_label.subclass_labels import subclass_labels
from tasks.vision.augmentation import Augmentation


def subclass_contrastive(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    augmentation: Augmentation | None = None,
    subclass_weight: Annotated[float, Field(ge=0)] = 0.1 / 0.07,
    class_weight: Annotated[float, Field(ge=0)] = 0.25,
    update_every: Annotated[int, Field(ge=1)] = 10,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)],
    optimizer: Optimizer,
    queue: Annotated[int, Field(ge=0)] = 0,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    device: Device = "cpu",
    seed: int,
) -> Model:
    """Subclass-balancing contrastive learning (SBCL: Hou et al., ICCV 2023, arXiv 2306.15925).

    The representation's encoder is trained on with a loss of two levels: views of one subclass attract each other
    against everything else, and views of one class attract each other across its subclasses. Every `update_every`
    epochs the current projections of the clean training images are clustered and labeled anew with the settings of
    stages cluster and pseudo_label; the temperatures are theirs too.

    Parameters
    ----------
    augmentation: what makes the two views of an image; default: what the representation was trained with.
    subclass_weight: weight of the subclass term; 0.1 / 0.07 is the ratio of temperatures that the release keeps.
    class_weight: weight of the class term (beta); 0 leaves it out.
    update_every: epochs between two clusterings; the first epochs use the clusters given.
    epochs: passes over split train. batch_size: images per step, two views each.
    optimizer: created anew, with its schedule over these epochs.
    queue, momentum: 0: candidates are the other views of the batch; else the last `queue` keys of a momentum
        encoder (MoCo), which is then also the one whose projections are clustered.
    device: where the network runs; images are augmented on the CPU.

    Returns networks["encoder"], `embedding` float32 [n, D] of ALL samples (backbone feature of the clean image,
    neither projected nor normalised), `subclass` int64 [n] (last clustering, -1 off train), `class_temperature`
    float32 [C], curves `loss` and `subclasses kept` (adjusted Rand index of each clustering with the one before).

    Raises ValueError: no encoder, clusters or pseudo-labels to start from; one that does not cover train; labels
    missing or not 0..C-1 on train.
    """
    if "settings" not in clusters.meta or "settings" not in pseudo_labels.meta:
        raise ValueError("clusters: use cluster.within_class_kmeans and pseudo_label.subclass_labels before this step")
    network, views, temperature = warm_start(representation, augmentation, pseudo_labels.meta["temperature"])
    data = labeled_images(dataset)
    training_stream, cluster_stream = np.random.SeedSequence(seed).spawn(2)
    cluster_seeds = cluster_stream.generate_state(max(1, epochs))
    class_n = torch.from_numpy(data.class_n).to(device)
    labels = SubclassTargets(pseudo_labels, data, device)
    kept: list[tuple[int, float]] = []

    def refresh(epoch: int, encoder: Encoder) -> None:
        if epoch == 0 or epoch % update_every:
            return
        current = projected(encoder, data, temperature)
        new = within_class_kmeans(dataset, current, **clusters.meta["settings"], seed=int(cluster_seeds[epoch]))
        before = labels.subclass_n[data.rows].cpu().numpy()
        labels.set(subclass_labels(dataset, current, new, **pseudo_labels.meta["settings"]), data)
        kept.append((epoch, adjusted_rand_score(before, labels.subclass_n[data.rows].cpu().numpy())))

    def loss(pairs: Pairs) -> torch.Tensor:
        return subclass_balancing(
            pairs,
            class_n,
            labels.subclass_n,
            temperature=temperature,
            class_temperature_n=labels.temperature_n,
            subclass_weight=subclass_weight,
            class_weight=class_weight,
        )

    schedule = Schedule(epochs, batch_size, optimizer, views, queue, momentum)
    curves = train_contrastive(network, data, loss, schedule, seed=training_stream, device=device, before_epoch=refresh)
    agreement = curve_table("subclasses kept", [e for e, _ in kept], [a for _, a in kept])
    return Model(
        {"curves": pd.concat([curves, agreement], ignore_index=True)},
        {
            "embedding": features(network.backbone, data.images, np.arange(len(data.images))),
            "subclass": labels.subclass_n.cpu().numpy(),
            "class_temperature": labels.temperature_C,
        },
        {"encoder": network_of(network, network.config())},
    )


class SubclassTargets:
    """The subclass and the class temperature of each sample, as they stand: `subclass_n` int64, `temperature_n` float32."""

    def __init__(self, pseudo_labels: PseudoLabels, data: LabeledImages, device: Device):
        self.device = device
        self.set(pseudo_labels, data)

    def set(self, pseudo_labels: PseudoLabels, data: LabeledImages) -> None:
        """Take over new pseudo-labels; ValueError unless each training row has a subclass."""
        units = pseudo_labels.tables["units"]
        subclass_n = np.full(len(data.class_n), -1, dtype=np.int64)
        subclass_n[units["sample"].to_numpy()] = units["pseudo_label"].to_numpy()
        missing = int((subclass_n[data.rows] < 0).sum())
        if missing:
            raise ValueError(f"pseudo_labels: {missing} training rows have no subclass; cluster all of split train")
        self.temperature_C = np.array(pseudo_labels.arrays["class_temperature"])
        self.subclass_n = torch.from_numpy(subclass_n).to(self.device)
        # Rows off train have class -1 and are never looked up.
        self.temperature_n = torch.from_numpy(self.temperature_C[data.class_n]).to(self.device)
