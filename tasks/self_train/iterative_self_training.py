"""A point network trained on cluster labels that it renews itself.

Shape legend: N points, K clusters, D features.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn import functional as F

from tasks import progress
from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation, network_of
from tasks.clustering.kmeans import assign, fit_kmeans
from tasks.curves import curve_table
from tasks.metrics.clustering import clustering_accuracy
from tasks.nn.sparse_fpn import SparseFpn, sparse_fpn_from_config
from tasks.scenes3d.augmentation import Motion
from tasks.scenes3d.clouds import Clouds, clouds_of, supervoxels_of
from tasks.scenes3d.network_input import point_features, scene_batch, to_device
from tasks.scenes3d.pooling import units_to_cluster
from tasks.segmentation.panoptic_inference import predicted_rows

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Logits = Literal["cosine", "dot"]


def iterative_self_training(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    warmup_epochs: Whole = 8,
    rounds: Whole = 4,
    epochs_per_round: Count = 3,
    batch_size: Count = 2,
    lr: Annotated[float, Field(gt=0)] = 0.03,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    dampening: Annotated[float, Field(ge=0, le=1)] = 0.1,
    weight_decay: Annotated[float, Field(ge=0)] = 1.0e-4,
    step_size: Count = 3,
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.8,
    warmup_logits: Logits = "cosine",
    round_logits: Logits = "dot",
    final_pool: Literal["supervoxel", "none"] = "supervoxel",
    n_init: Count = 5,
    max_iter: Count = 80,
    augment: Motion | None = Motion(),  # noqa: B008  (frozen)
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """Second step of PointDC (Chen et al., ICCV 2023, arXiv 2304.08965) as its code does it: super-voxel clustering.

    Warm-up: a head of K vectors with random weights learns the pseudo-labels together with the network, which starts from
    `representation`'s; logits are cosines without temperature; the labels and the learning rate stay fixed. Then the
    head is dropped, and every round clusters the network's own features of the training scenes (spherical k-means), takes
    labels and the unit centroids from there, and trains for some epochs against these fixed centroids; logits are h . c,
    h not normalised. SGD starts afresh after the warm-up. Prediction: features without motion, mean per super-voxel,
    centroid of largest cosine.

    Parameters
    ----------
    warmup_epochs: of the warm-up. rounds, epochs_per_round: of the iterative part; `rounds: 0` predicts with the head,
        or, without warm-up, with the pseudo-labels.
    batch_size: scenes per step. lr, momentum, dampening, weight_decay: of SGD.
    step_size, gamma: in the rounds the learning rate is multiplied by gamma every so many epochs.
    warmup_logits, round_logits: "cosine" normalises the features, "dot" does not; the class vectors are unit vectors in both.
    final_pool: "supervoxel": cluster and predict super-voxels; "none": single points.
    n_init, max_iter: starts and iterations of k-means. augment: random motion of the clouds; null: none.
    device: where to compute.

    Returns, for the points of the scenes of split `test` (of `train`, if there is none), T of them: `rows` int64 [T],
    `prediction` int64 [T], `rounds` int64 [R, T]: predictions from the first clustering on, after the warm-up, and after each
    round; networks["backbone"]; curves `loss` (x: epoch) and `changed labels` (share of the training points, x: round); meta
    `n_clusters`.

    Raises ValueError if the representation has no network, or there are fewer units than clusters.
    """
    if "backbone" not in representation.networks:
        raise ValueError("representation: needs a network 'backbone'; use 'cross_modal_distillation', or give 'net'")
    stored = representation.networks["backbone"]
    network = sparse_fpn_from_config(stored.config)
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in stored.state.items()})
    network.to(device).train()
    k = int(pseudo_labels.meta["n_clusters"])
    group_P = supervoxels_of(dataset) if final_pool == "supervoxel" else None
    init, order, motions, kmeans_seed = np.random.SeedSequence(seed).spawn(4)
    trainer = _Trainer(
        network=network,
        clouds=clouds_of(dataset),
        scenes=dataset.rows("train"),
        voxel=float(representation.meta["voxel"]),
        batch_size=batch_size,
        motion=augment,
        order=np.random.default_rng(order),
        motions=np.random.default_rng(motions),
        device=device,
        epochs=warmup_epochs + rounds * epochs_per_round,
        losses=[],
    )
    scenes = predicted_rows(dataset)
    rows = np.flatnonzero(np.isin(trainer.clouds.scene, scenes))
    label_P = np.array(pseudo_labels.tables["units"]["pseudo_label"])
    predictions, changes = [label_P[rows]], []

    def sgd(parameters: list[torch.nn.Parameter]) -> torch.optim.SGD:
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)

    def predicted(vectors_KD: np.ndarray) -> np.ndarray:
        return _predicted(trainer, scenes, rows, group_P, vectors_KD)

    if warmup_epochs:
        generator = torch.Generator().manual_seed(int(init.generate_state(1)[0]))
        head = torch.randn(k, network.settings.out, generator=generator).to(device)
        head = torch.nn.Parameter(head * (2 / network.settings.out) ** 0.5)
        optimizer = sgd([*network.parameters(), head])
        for _ in range(warmup_epochs):
            trainer.epoch(optimizer, label_P, lambda h: class_logits(h, head, warmup_logits))
        predictions.append(predicted(head.detach().cpu().numpy()))
    if rounds:
        optimizer = sgd(list(network.parameters()))
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size, gamma)
        for number, child in enumerate(kmeans_seed.spawn(rounds)):
            motion = augment if augment is not None and augment.clustering else None
            found, features = trainer.features(trainer.scenes, motion)
            units, unit_of = units_to_cluster(features, None if group_P is None else group_P[found])
            fit = fit_kmeans(
                units, k, spherical=True, n_iter=max_iter, n_init=n_init, seed=int(child.generate_state(1)[0])
            )
            before, label_P[found] = label_P[found], fit.labels[unit_of]
            if number:  # cluster numbers of the first labels have nothing to do with those of the rounds
                changes.append(1 - clustering_accuracy(label_P[found], before))
            centroids = torch.from_numpy(fit.centroids).to(device)
            for _ in range(epochs_per_round):
                trainer.epoch(optimizer, label_P, lambda h, c=centroids: class_logits(h, c, round_logits))
                schedule.step()
            predictions.append(predicted(fit.centroids))
    curves = [curve_table("loss", range(1, len(trainer.losses) + 1), trainer.losses)]
    if changes:
        curves.append(curve_table("changed labels against round", range(2, len(changes) + 2), changes))
    arrays = {"rows": rows, "prediction": predictions[-1], "rounds": np.stack(predictions)}
    return Model(
        {"curves": pd.concat(curves, ignore_index=True)},
        arrays,
        {"backbone": network_of(network, network.config())},
        {"n_clusters": k, "warmup": warmup_epochs > 0},
    )


def class_logits(h_ND: torch.Tensor, vectors_KD: torch.Tensor, kind: Logits) -> torch.Tensor:
    """h . c for unit class vectors c; with "cosine" h is normalised, too (values in -1..1, no temperature)."""
    if kind == "cosine":
        h_ND = F.normalize(h_ND, dim=1)
    return h_ND @ F.normalize(vectors_KD, dim=1).T


@dataclass
class _Trainer:
    """What an epoch needs, and the losses of those that are done."""

    network: SparseFpn
    clouds: Clouds
    scenes: np.ndarray
    voxel: float
    batch_size: int
    motion: Motion | None
    order: np.random.Generator
    motions: np.random.Generator
    device: str
    epochs: int
    losses: list[float]

    def epoch(self, optimizer: torch.optim.Optimizer, label_P: np.ndarray, logits_of: Any) -> None:
        """One pass over the training scenes with cross entropy; a label of -1 does not count."""
        order, means = self.order.permutation(self.scenes), []
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            levels = len(self.network.settings.channels)
            batch = scene_batch(self.clouds, chosen, self.voxel, levels, self.motion, self.motions)
            features = self.network(batch.inputs.to(self.device), to_device(batch.grid, self.device))
            target = torch.from_numpy(label_P[batch.rows]).to(self.device)
            loss = F.cross_entropy(logits_of(features), target, ignore_index=-1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            means.append(loss.item())
        if not np.isfinite(means).all():
            raise FloatingPointError(f"loss is not finite in epoch {len(self.losses) + 1}; lower lr")
        self.losses.append(float(np.mean(means)))
        progress.report(len(self.losses), self.epochs, loss=self.losses[-1])

    def features(self, scenes: np.ndarray, motion: Motion | None) -> tuple[np.ndarray, np.ndarray]:
        return point_features(self.network, self.clouds, scenes, self.voxel, motion, self.motions, self.device)


def _predicted(
    trainer: _Trainer, scenes: np.ndarray, rows: np.ndarray, group_P: np.ndarray | None, vectors_KD: np.ndarray
) -> np.ndarray:
    """Cluster int64 [T] of the points `rows` of some scenes: the class vector of largest cosine to their unit."""
    found, features = trainer.features(scenes, None)
    units, unit_of = units_to_cluster(features, None if group_P is None else group_P[found])
    label_P = np.full(len(trainer.clouds.points), -1, dtype=np.int64)
    label_P[found] = assign(units, vectors_KD, spherical=True)[unit_of]
    return label_P[rows]
