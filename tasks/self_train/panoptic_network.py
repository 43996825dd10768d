"""One network for instance, semantic and panoptic segmentation, trained on pseudo-labels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks import progress
from tasks.artifacts import Checkpoint, Clusters, Dataset, Model, PseudoLabels, Representation, network_of
from tasks.clustering.kmeans import assign
from tasks.curves import block_means
from tasks.nn.training import Optimizer, build_optimizer, learning_rate
from tasks.segmentation.copy_paste import CopyPaste
from tasks.segmentation.copy_paste import copy_paste as paste_objects
from tasks.segmentation.mask2former import QueryNetwork, QueryNetworkSettings
from tasks.segmentation.panoptic_deeplab import CentreLoss, CentreNetwork
from tasks.segmentation.panoptic_inference import (
    Inference,
    Prediction,
    predicted_rows,
    predictions_as_tables,
    segments_of,
)
from tasks.segmentation.region_features import crop_cls, masked_means
from tasks.segmentation.self_training import Targets

Count = Annotated[int, Field(ge=1)]
ClusterOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
_OPTIMIZER = Optimizer(name="adamw", lr=1e-2, weight_decay=1e-4, schedule="one_cycle", warmup=0.15, clip_norm=5.0)
_CURVE_POINTS = 50
_PREDICTED_AT_ONCE = 16


def panoptic_network(
    dataset: Dataset,
    checkpoint: Checkpoint,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    arch: Literal["panoptic_deeplab", "mask2former"] = "panoptic_deeplab",
    steps: Count = 220,
    batch_size: Count = 16,
    optimizer: Optimizer = _OPTIMIZER,
    copy_paste: CopyPaste | None = None,
    rounds: Count = 1,
    round_score_min: Annotated[float, Field(ge=0, le=1)] = 0.7,
    drop_loss: bool = False,
    classes: Literal["clusters", "agnostic"] = "clusters",
    semantic: Literal["head", "none"] = "head",
    channels: Annotated[list[Count], Field(min_length=1)] = [16, 32, 64],  # noqa: B006  (never changed)
    loss: CentreLoss = CentreLoss(),  # noqa: B008  (frozen)
    query_network: QueryNetworkSettings = QueryNetworkSettings(),  # noqa: B008  (frozen)
    inference: Inference = Inference(),  # noqa: B008  (frozen)
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """Train a panoptic network on pseudo-labels (U2Seg: Niu et al., CVPR 2024, arXiv 2312.17243, sections 3.3 and 3.4).

    The paper trains Panoptic Cascade Mask R-CNN; two-stage detectors need operators that torch alone lacks, so the network
    is a centre-based one (`panoptic_deeplab`, trains in seconds) or a query-based one (`mask2former`, for GPUs).
    With `classes: agnostic` and `semantic: none` it is CutLER's class-agnostic detector (arXiv 2301.11320): foreground
    against background. Its masks get the cluster of the nearest region centroid and are pasted over the dense clusters
    (CutLER + STEGO, the paper's baseline).

    Parameters
    ----------
    arch: see above.
    steps: optimiser steps of one round. batch_size: images per step.
    optimizer: optimiser and schedule over the steps of a round.
    copy_paste: {rate, scale} of copy-paste augmentation within the batch; null: off.
    rounds: trainings; each after the first goes on with the network and renews the instances: predictions with a
        score of at least `round_score_min`, and the old masks that overlap none of them by half (CutLER). 1 in U2Seg.
    drop_loss: CutLER's DropLoss, for `mask2former` only: it weighs object proposals, which a centre map does not have.
        Not used in U2Seg.
    classes: "clusters": one thing class per cluster; "agnostic": one class, clusters assigned afterwards.
    semantic: "head": dense clusters are learnt; "none": stuff is taken from the dense clusters.
    channels: of `panoptic_deeplab`, at strides 2, 4, 8, ... loss: its loss weights.
    query_network: architecture of `mask2former`, randomly initialised, and its `lambda_semantic`.
    inference: how outputs become segments. device: where to train.

    Returns, for the images of split `test` (of `train`, if there is none), T of them: `rows` int64 [T], their samples;
    `panoptic` int32 [T, H, W] (0 void, else the `segment`); `semantic` int16 [T, H, W] (0..K_T-1 thing cluster, K_T + s
    dense cluster, -1 void); `masks` bool [D, H, W], every detection whether pasted or not. Table `segments`: first
    the D detections in the order of `masks` (`segment` 0: not pasted; `score`), then the stuff segments. Curves: every
    loss term, x is the step.

    Raises ValueError for `drop_loss` with another network, pseudo-labels that do not fit the images, no instance in
    the training split, sizes that do not divide into patches (agnostic), or region centroids that are not means of
    patch embeddings.
    """
    if drop_loss and arch != "mask2former":
        raise ValueError("drop_loss: needs arch 'mask2former'; a centre map has no object proposals to weigh")
    _check(dataset, pseudo_labels)
    train = dataset.rows("train")
    targets = Targets(dataset, pseudo_labels)
    thing_clusters, stuff_clusters = (
        int(pseudo_labels.meta["thing_clusters"]),
        int(pseudo_labels.meta["stuff_clusters"]),
    )
    cluster_of = _cluster_of_masks(dataset, checkpoint, representation, clusters) if classes == "agnostic" else None
    if semantic == "none" and "dense" not in clusters.arrays:
        raise ValueError(
            "semantic: 'none' takes stuff from the dense clusters, and clusters has no array 'dense'; use 'head'"
        )
    segments = segments_of(pseudo_labels.tables["segments"])
    if not np.isin(segments.sample[segments.is_thing], train).any():
        raise ValueError("pseudo_labels: no instance in split 'train'; loosen the cluster step, which found no object")
    things = thing_clusters if classes == "clusters" else 1
    stuff = stuff_clusters if semantic == "head" else 0
    init, batches, queries = (int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init)
        if arch == "mask2former":
            network = QueryNetwork(things, stuff, query_network, drop_loss, queries)
        else:
            network = CentreNetwork(1 + max(stuff, 1), things, loss, inference, channels)
    network.to(device)
    rng, parts = np.random.default_rng(batches), []
    for round_ in range(rounds):
        if round_:
            predictions = _predict(network, targets, train, cluster_of)
            targets.renew(train, predictions, round_score_min)
        parts.append(_train(network, targets, train, steps, batch_size, optimizer, copy_paste, rng, round_, rounds))
    rows = predicted_rows(dataset)
    predictions = _predict(network, targets, rows, cluster_of)
    if semantic == "none":
        dense = clusters.arrays["dense"]
        predictions = [replace(p, stuff_HW=np.asarray(dense[row])) for row, p in zip(rows, predictions, strict=True)]
    arrays, table = predictions_as_tables(rows, predictions, thing_clusters, inference)
    meta = {
        "thing_clusters": thing_clusters,
        "stuff_clusters": stuff_clusters,
        "classes": classes,
        "semantic": semantic,
    }
    networks = {"network": network_of(network.network if arch == "mask2former" else network, network.config())}
    return Model({"segments": table, "curves": pd.concat(parts, ignore_index=True)}, arrays, networks, meta)


def _train(
    network: CentreNetwork | QueryNetwork,
    targets: Targets,
    train: np.ndarray,
    steps: int,
    batch_size: int,
    settings: Optimizer,
    paste: CopyPaste | None,
    rng: np.random.Generator,
    round_: int,
    rounds: int,
) -> pd.DataFrame:
    """One round of training; returns the curves of all loss terms, means over equal runs of steps."""
    parameters = list(network.parameters())
    optimizer = build_optimizer(parameters, settings)
    network.train()
    passes = -(-steps * batch_size // len(train))
    order = np.concatenate([rng.permutation(train) for _ in range(passes)])
    history: dict[str, list[float]] = {}
    every = max(1, steps // _CURVE_POINTS)
    for step in range(steps):
        batch = targets.batch(order[step * batch_size : (step + 1) * batch_size])
        if paste is not None:
            batch = paste_objects(batch, paste, rng)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, steps)
        terms = network.losses(batch)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        for name, value in {"loss": total, **{f"loss: {name}": v for name, v in terms.items()}}.items():
            history.setdefault(name, []).append(value.item())
        if not np.isfinite(history["loss"][-1]):
            raise FloatingPointError(
                f"loss is {history['loss'][-1]} at step {step}; lower optimizer.lr ({settings.lr})"
            )
        if (step + 1) % every == 0 or step + 1 == steps:
            progress.report(round_ * steps + step + 1, rounds * steps, loss=history["loss"][-1])
    return pd.concat([block_means(name, y, every, before=round_ * steps) for name, y in history.items()])


def _predict(
    network: CentreNetwork | QueryNetwork, targets: Targets, rows: np.ndarray, cluster_of: ClusterOf | None
) -> list[Prediction]:
    """Predictions for `rows`; with `cluster_of` their clusters are assigned, and thing pixels outside detections have none."""
    predictions: list[Prediction] = []
    for start in range(0, len(rows), _PREDICTED_AT_ONCE):
        predictions += network.predict(targets.images(rows[start : start + _PREDICTED_AT_ONCE]))
    if cluster_of is None:
        return predictions
    counts = [len(p.score_D) for p in predictions]
    category = cluster_of(np.concatenate([p.masks_DHW for p in predictions]), np.repeat(rows, counts))
    return [
        replace(p, category_D=own, thing_HW=np.full_like(p.thing_HW, -1))
        for p, own in zip(predictions, np.split(category, np.cumsum(counts)[:-1]), strict=True)
    ]


def _cluster_of_masks(
    dataset: Dataset, checkpoint: Checkpoint, representation: Representation, clusters: Clusters
) -> ClusterOf:
    """(masks [D, H, W], their samples [D]) -> nearest region centroid int64 [D], masks embedded as the cluster step did."""
    centroids, embedding = clusters.arrays.get("region_centroids"), representation.arrays.get("embedding")
    if centroids is None or embedding is None or "grid" not in representation.meta:
        raise ValueError("classes: 'agnostic' needs region centroids and patch embeddings with a grid; use 'clusters'")
    height, width = representation.meta["grid"]
    features_nhwD = embedding.reshape(len(dataset.samples), height, width, -1)
    by_crop = clusters.meta.get("embed", "masked_mean") == "cls"
    if not by_crop and centroids.shape[1] != embedding.shape[1]:
        raise ValueError(
            f"classes: 'agnostic' compares region centroids of {centroids.shape[1]} dimensions with patch embeddings of "
            f"{embedding.shape[1]}; use the representation that the cluster step used"
        )

    def cluster_of(masks_DHW: np.ndarray, owner_D: np.ndarray) -> np.ndarray:
        if len(masks_DHW) == 0:
            return np.zeros(0, dtype=np.int64)
        if by_crop:
            patch = int(representation.meta["patch"])
            size = (height * patch, width * patch)
            embedding_DF = crop_cls(masks_DHW, owner_D, dataset.arrays["images"], checkpoint, size)
        else:
            embedding_DF = masked_means(masks_DHW, owner_D, features_nhwD)
        return assign(embedding_DF, np.asarray(centroids)).astype(np.int64)

    return cluster_of


def _check(dataset: Dataset, pseudo_labels: PseudoLabels) -> None:
    images = dataset.arrays.get("images")
    if images is None:
        raise ValueError("dataset: array 'images' is needed and absent")
    for name in ("panoptic", "semantic_target"):
        if name not in pseudo_labels.arrays:
            raise ValueError(f"pseudo_labels: array '{name}' is needed and absent; use step 'panoptic_pseudo_labels'")
        if pseudo_labels.arrays[name].shape != images.shape[:3]:
            raise ValueError(
                f"pseudo_labels: {name} {pseudo_labels.arrays[name].shape} does not fit images {images.shape}"
            )
