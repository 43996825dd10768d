"""Image features brought to points, and a sparse 3D network that learns to reproduce them.

Shape legend: P points of all scenes, N points of a batch, V views, h, w patch grid, d2 image features.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Representation, network_of
from tasks.nn.sparse_fpn import FpnSettings, SparseFpn
from tasks.nn.training import Optimizer, train
from tasks.nn.vit import check_divisible, image_batch, load_vit, patch_side, preprocess, vit_features
from tasks.scenes3d.augmentation import Motion
from tasks.scenes3d.backprojection import backproject_features
from tasks.scenes3d.clouds import Clouds, clouds_of, points_in
from tasks.scenes3d.network_input import point_features, scene_batch, to_device
from tasks.vision.filter_bank import filter_bank

_VIEWS_AT_ONCE = 8


class Fusion(BaseModel):
    """How the views meet at a point. `views`: number of views used, null for all. `depth_tolerance`: metres between the
    point and what the pixel saw. `standardize`: subtract the mean and divide by the deviation of every feature over the
    seen points of the training scenes, so that a cosine compares what differs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    views: Annotated[int, Field(ge=1)] | None = None
    depth_tolerance: Annotated[float, Field(gt=0)] = 0.05
    standardize: bool = False


_OPTIMIZER = Optimizer(name="adam", lr=1e-3)


def cross_modal_distillation(
    dataset: Dataset,
    checkpoint: Checkpoint,
    *,
    image_encoder: Literal["vit", "filter_bank"] = "vit",
    fuse: Fusion = Fusion(),  # noqa: B008  (frozen)
    net: FpnSettings = FpnSettings(),  # noqa: B008
    augment: Motion | None = Motion(),  # noqa: B008
    epochs: Annotated[int, Field(ge=0)] = 15,
    batch_size: Annotated[int, Field(ge=1)] = 2,
    optimizer: Optimizer = _OPTIMIZER,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """First step of PointDC (Chen et al., ICCV 2023, arXiv 2304.08965): cross-modal distillation.

    Dense features of the posed views are projected onto the points that a view sees and averaged over the views. A sparse
    network and a 1x1 layer a = A h learn them: mean over points with a target, and channels, of (a/|a| - g/|g|)^2.

    Parameters
    ----------
    image_encoder: "vit": patch features of the last layer of the checkpoint's ViT; "filter_bank": colours and textures.
    fuse: {views, depth_tolerance, standardize}. net: {channels, out} of the sparse network.
    augment: random motion of every cloud in training; null: none.
    epochs, batch_size (scenes), optimizer: of the distillation.
    device: where to compute.

    Units are the points. `embedding` float32 [P, d2]: the aligned features a, without motion; `target` float16 [P, d2]:
    the fused image features, zero where unseen, and `seen` bool [P]; networks["backbone"]: the sparse network, without
    the 1x1 layer; curve `loss` (x: epoch); meta `voxel`.

    Raises ValueError for a data set without views or points, a scene that no view sees, or targets that are all zero.
    """
    clouds = clouds_of(dataset)
    voxel = float(dataset.meta["voxel"])
    target_PD, seen_P = fused_features(dataset, clouds, checkpoint, image_encoder, fuse, device)
    scenes = dataset.rows("train")
    if fuse.standardize:
        rows = np.intersect1d(points_in(dataset, "train"), np.flatnonzero(seen_P))
        middle, spread = target_PD[rows].mean(axis=0), target_PD[rows].std(axis=0)
        target_PD = np.where(seen_P[:, None], (target_PD - middle) / np.maximum(spread, 1e-6), 0).astype(np.float32)
    if not target_PD[np.isin(clouds.scene, scenes)].any():
        raise ValueError("image_encoder: every target feature of split 'train' is zero")
    init, batches, motions = np.random.SeedSequence(seed).spawn(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(init.generate_state(1)[0]))
        network = SparseFpn(net)
        align = nn.Linear(net.out, target_PD.shape[1], bias=False)
    network.to(device).train()
    align.to(device)
    motion_rng = np.random.default_rng(motions)

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        batch = scene_batch(clouds, rows_B.numpy(), voxel, len(net.channels), augment, motion_rng)
        features = network(batch.inputs.to(device), to_device(batch.grid, device))
        return distillation_loss(align(features), torch.from_numpy(target_PD[batch.rows]).to(device))

    curves = train(
        loss_of_batch,
        [*network.parameters(), *align.parameters()],
        rows=scenes,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(batches),
    )
    every = np.arange(len(dataset.samples))
    rows, features = point_features(network, clouds, every, voxel, None, motion_rng, device)
    embedding = np.zeros((len(clouds.points), target_PD.shape[1]), dtype=np.float32)
    embedding[rows] = features @ align.weight.detach().cpu().numpy().T
    units = pd.DataFrame({"unit": np.arange(len(embedding)), "sample": clouds.scene.astype(np.int64)})
    arrays = {"embedding": embedding, "target": target_PD.astype(np.float16), "seen": seen_P}
    backbone = network_of(network, network.config())
    return Representation({"units": units, "curves": curves}, arrays, {"backbone": backbone}, {"voxel": voxel})


def distillation_loss(aligned_ND: torch.Tensor, target_ND: torch.Tensor) -> torch.Tensor:
    """Mean over points and channels of (a/|a| - g/|g|)^2, that is (2 - 2 cos)/d; points with a zero target are left out.

    0 for parallel, 2/d for orthogonal, 4/d for opposite vectors; 0 if every target is zero.
    """
    known = target_ND.abs().sum(dim=1) > 0
    if not known.any():
        return aligned_ND.sum() * 0
    a, g = F.normalize(aligned_ND[known], dim=1), F.normalize(target_ND[known], dim=1)
    return ((a - g) ** 2).mean()


def fused_features(
    dataset: Dataset, clouds: Clouds, checkpoint: Checkpoint, encoder: str, fuse: Fusion, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """Image features float32 [P, d2] of all points, and which points are seen [P]."""
    for name in ("images", "c2w", "intrinsics", "distance"):
        if name not in dataset.arrays:
            raise ValueError(f"dataset: array '{name}' is needed and absent; use a data set with posed views")
    if dataset.arrays["images"].ndim != 5:
        raise ValueError(f"dataset: images {dataset.arrays['images'].shape} are not views [scenes, V, H, W, 3]")
    features: list[np.ndarray] = []
    seen_P = np.zeros(len(clouds.points), dtype=bool)
    for scene in range(len(dataset.samples)):
        rows = clouds.rows(scene)
        try:
            mean, seen_P[rows] = backproject_features(
                clouds.points[rows].astype(np.float64),
                image_features(np.asarray(dataset.arrays["images"][scene]), checkpoint, encoder, device),
                dataset.arrays["c2w"][scene],
                dataset.arrays["intrinsics"][scene],
                np.asarray(dataset.arrays["distance"][scene]),
                tolerance=fuse.depth_tolerance,
                views=fuse.views,
            )
        except ValueError as error:
            raise ValueError(f"dataset: scene {scene}: {error}") from error
        features.append(mean)
        progress.report(scene + 1, len(dataset.samples))
    order = np.argsort(np.concatenate([clouds.rows(scene) for scene in range(len(features))]), kind="stable")
    return np.concatenate(features)[order], seen_P


def image_features(images_VHW3: np.ndarray, checkpoint: Checkpoint, encoder: str, device: str) -> np.ndarray:
    """Dense features float32 [V, h, w, d2] of some views."""
    if encoder == "filter_bank":
        return filter_bank(images_VHW3.astype(np.float32) / (255 if images_VHW3.dtype == np.uint8 else 1))
    vit = load_vit(checkpoint, device)
    patch = patch_side(vit)
    height, width = images_VHW3.shape[1:3]
    check_divisible(height, width, patch)
    parts = []
    for start in range(0, len(images_VHW3), _VIEWS_AT_ONCE):
        rows = np.arange(start, min(start + _VIEWS_AT_ONCE, len(images_VHW3)))
        pixels = preprocess(image_batch(images_VHW3, rows).to(device), vit, checkpoint.meta)
        tokens, _ = vit_features(vit, pixels, "last")
        parts.append(tokens.cpu().numpy().reshape(len(rows), height // patch, width // patch, -1))
    return np.concatenate(parts)
