"""DINO: a small ViT trained by self-distillation.

Shape legend: B batch, C channels, N patches, D features, P prototypes.
"""

from copy import deepcopy
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from transformers import ViTConfig, ViTModel

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Network, network_of
from tasks.curves import curve_table
from tasks.nn.dino_head import DinoHead
from tasks.nn.dino_loss import (
    Centre,
    ema_update,
    entropy,
    masked_patch_loss,
    random_masks,
    teacher_distribution,
    teacher_momentum,
    view_loss,
)
from tasks.nn.training import Optimizer, build_optimizer, learning_rate
from tasks.nn.vit import image_batch
from tasks.vision.multi_crop import random_crops

Share = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[list[Share], Field(min_length=2, max_length=2)]
_REPORT_EVERY = 20
_CLIP_NORM = 3.0


class DinoWeights(BaseModel):
    """Weight of the loss on whole views (`cls`) and of the one on masked patches (`patch`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    cls: Annotated[float, Field(ge=0)] = 0.5
    patch: Annotated[float, Field(ge=0)] = 2.0


def dino(
    dataset: Dataset,
    *,
    patch: Annotated[int, Field(ge=1)],
    hidden: Annotated[int, Field(ge=1)],
    layers: Annotated[int, Field(ge=1)],
    heads: Annotated[int, Field(ge=1)],
    mlp_ratio: Annotated[int, Field(ge=1)] = 4,
    prototypes: Annotated[int, Field(ge=2)],
    steps: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)],
    global_size: Annotated[int, Field(ge=1)],
    global_scale: Scale,
    local_size: Annotated[int, Field(ge=1)],
    local_scale: Scale,
    local_crops: Annotated[int, Field(ge=0)],
    weights: DinoWeights = DinoWeights(),  # noqa: B008  (frozen)
    mask_ratio: Share = 0.3,
    tau_teacher: Annotated[float, Field(gt=0)] = 0.04,
    tau_student: Annotated[float, Field(gt=0)] = 0.1,
    ema: Annotated[float, Field(ge=0, le=1)] = 0.99,
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    freeze_last_layer: Annotated[float, Field(ge=0, le=1)] = 0.05,
    lr: Annotated[float, Field(gt=0)] = 2.0e-3,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Checkpoint:
    """A small stand-in for DINO's public ViT (Caron et al., ICCV 2021, arXiv 2104.14294, algorithm 1).

    A student sees two global and some local crops of each training image, a teacher (the moving average of the
    student) the global ones; the student learns to give the prototype distribution that the teacher gives to another
    crop. Patches hidden from the student's global crops are learned likewise (iBOT, arXiv 2111.07832), with a centre
    of their own: masks are cut from dense features, which the loss on whole views alone shapes little in a short
    training. Colour is jittered by gains only, as it carries classes in small data sets; DINO's blur, greying and
    solarisation are left out.

    AdamW (weight decay 0.04, gradient norm at most 3), warm-up over 10 % of the steps, then cosine to 0.

    Parameters
    ----------
    patch: side of a patch in pixels; `global_size` and `local_size` must be multiples of it.
    hidden, layers, heads: width, depth and attention heads of the ViT. mlp_ratio: width of its MLPs over `hidden`.
    prototypes: outputs of the head, P.
    steps, batch_size: optimiser steps and images per step. lr: peak learning rate.
    global_size, local_size: side of the crops in pixels.
    global_scale, local_scale: [low, high] share of the image's area that a crop shows.
    local_crops: local crops per image.
    weights: {cls, patch}: of the two losses.
    mask_ratio: share of the patches of a global crop hidden from the student.
    tau_teacher, tau_student: temperatures. ema: the teacher's momentum at the start; it rises to 1 along a cosine.
    jitter: brightness and each channel are multiplied by 1 +- jitter.
    freeze_last_layer: share of the steps, from the first, in which the prototypes are not trained.
    seed: seed of the initial weights and all draws.
    device: "cpu" or "cuda".

    Returns networks["vit"]: the teacher's backbone as a `transformers.ViTModel` without pooler, float32; table
    `curves`: `loss`, `loss_cls`, `loss_patch` and `teacher_entropy` (nats; 0 or log P all along is a collapse),
    means of 20 steps; meta: `kind`, `image_mean`, `image_std` (for images in 0..1), `size`.

    Raises ValueError naming the parameter: a size that is no multiple of `patch`, `hidden` of `heads`, a scale
    upside down, images that are missing or smaller than the patch.
    """
    _check(patch, hidden, heads, global_size, local_size, global_scale, local_scale)
    if "images" not in dataset.arrays:
        raise ValueError("dataset: needs the array 'images'; use a data set of images")
    rows = dataset.rows("train")
    images = dataset.arrays["images"]
    channels = images.shape[-1]
    mean, std = _channel_statistics(images, rows)
    config = ViTConfig(
        image_size=global_size,
        patch_size=patch,
        num_channels=channels,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp_ratio * hidden,
    )
    student = _network(config, prototypes, seed).to(device)
    teacher = deepcopy(student).requires_grad_(False)
    settings = Optimizer(name="adamw", lr=lr, weight_decay=0.04, schedule="cosine", warmup=0.1)
    optimizer = build_optimizer(student.parameters(), settings)
    centre_cls, centre_patch = Centre(prototypes, device=device), Centre(prototypes, device=device)
    batch_stream, crop_stream = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(batch_stream)
    generator = torch.Generator().manual_seed(int(crop_stream.generate_state(1)[0]))
    order = np.empty(0, dtype=np.int64)
    mean_C11 = torch.tensor(mean, device=device)[:, None, None]
    std_C11 = torch.tensor(std, device=device)[:, None, None]
    history: list[list[float]] = []
    for step in range(steps):
        while len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(rows)])
        batch, order = np.sort(order[:batch_size]), order[batch_size:]
        images_BCHW = image_batch(images, batch).to(device)
        crop_sets = [(global_size, global_scale)] * 2 + [(local_size, local_scale)] * local_crops
        crops = [
            (random_crops(images_BCHW, size, scale, jitter, generator) - mean_C11) / std_C11
            for size, scale in crop_sets
        ]
        masked = random_masks(2 * batch_size, (global_size // patch) ** 2, mask_ratio, generator).to(device)
        loss_cls, loss_patch, teacher_entropy = _losses(
            student, teacher, crops, masked, centre_cls, centre_patch, tau_teacher, tau_student
        )
        loss = weights.cls * loss_cls + weights.patch * loss_patch
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step < freeze_last_layer * steps:
            student.get_parameter("head.direction").grad = None
        nn.utils.clip_grad_norm_(student.parameters(), _CLIP_NORM)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, steps)
        optimizer.step()
        ema_update(teacher, student, teacher_momentum(ema, step, steps))
        history.append([loss.item(), loss_cls.item(), loss_patch.item(), teacher_entropy.item()])
        if not np.isfinite(history[-1][0]):
            raise FloatingPointError(f"loss is {history[-1][0]} at step {step}; lower lr ({lr})")
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
            progress.report(step + 1, steps, loss=history[-1][0])
    return Checkpoint(
        tables={"curves": _curves(history)},
        networks={"vit": _backbone(teacher["vit"], config)},
        meta={"kind": "vit", "image_mean": mean, "image_std": std, "size": list(images.shape[1:3])},
    )


def _losses(
    student: nn.ModuleDict,
    teacher: nn.ModuleDict,
    crops: list[torch.Tensor],
    masked_BN: torch.Tensor,
    centre_cls: Centre,
    centre_patch: Centre,
    tau_teacher: float,
    tau_student: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss on views, loss on masked patches, entropy of the teacher; moves both centres.

    The first two crops are the global ones; `masked_BN` hides patches of both (B: twice the batch).
    """
    seen = torch.cat(crops[:2])
    with torch.no_grad():
        teacher_tokens = teacher["vit"](seen).last_hidden_state
        teacher_cls = teacher["head"](teacher_tokens[:, 0])
        teacher_hidden = teacher["head"](teacher_tokens[:, 1:][masked_BN])
    tokens = student["vit"](seen, bool_masked_pos=masked_BN).last_hidden_state
    logits_cls = [student["head"](tokens[:, 0])]
    # Of the patches only the hidden ones are compared.
    hidden_logits = student["head"](tokens[:, 1:][masked_BN])
    if len(crops) > 2:
        local = student["vit"](torch.cat(crops[2:]), interpolate_pos_encoding=True).last_hidden_state
        logits_cls.append(student["head"](local[:, 0]))
    student_VBP = torch.cat(logits_cls).unflatten(0, (len(crops), -1))
    target_GBP = teacher_distribution(teacher_cls, centre_cls, tau_teacher).unflatten(0, (2, -1))
    target_hidden = teacher_distribution(teacher_hidden, centre_patch, tau_teacher)
    loss_cls = view_loss(target_GBP, student_VBP, tau_student)
    loss_patch = masked_patch_loss(target_hidden, hidden_logits, tau_student)
    centre_cls.update(teacher_cls)
    centre_patch.update(teacher_hidden)
    return loss_cls, loss_patch, entropy(target_GBP)


def _network(config: ViTConfig, prototypes: int, seed: int) -> nn.ModuleDict:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = ViTModel(config, add_pooling_layer=False, use_mask_token=True)
        return nn.ModuleDict({"vit": vit, "head": DinoHead(config.hidden_size, prototypes)})


def _backbone(vit: nn.Module, config: ViTConfig) -> Network:
    """The network without mask token, which only the student's training needs."""
    settings = {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    network = network_of(vit, settings)
    del network.state["embeddings.mask_token"]
    return network


def _channel_statistics(images: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over the training images in 0..1, rounded to four digits."""
    sums, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), 256):
        batch = image_batch(images, rows[start : start + 256]).double()
        sums, squares = sums + batch.sum(dim=(0, 2, 3)), squares + batch.square().sum(dim=(0, 2, 3))
        count += batch[:, 0].numel()
    mean = torch.as_tensor(sums) / count
    std = (torch.as_tensor(squares) / count - mean.square()).clamp(min=1e-8).sqrt()
    return [round(v, 4) for v in mean.tolist()], [max(round(v, 4), 1e-4) for v in std.tolist()]


def _curves(history: list[list[float]]) -> pd.DataFrame:
    names = ("loss", "loss_cls", "loss_patch", "teacher_entropy")
    blocks = [history[i : i + _REPORT_EVERY] for i in range(0, len(history), _REPORT_EVERY)]
    ends = np.cumsum([len(block) for block in blocks])
    means = np.array([np.mean(block, axis=0) for block in blocks]).reshape(len(blocks), len(names))
    return pd.concat([curve_table(n, ends, means[:, i].tolist()) for i, n in enumerate(names)], ignore_index=True)


def _check(
    patch: int,
    hidden: int,
    heads: int,
    global_size: int,
    local_size: int,
    global_scale: list[float],
    local_scale: list[float],
) -> None:
    for name, size in (("global_size", global_size), ("local_size", local_size)):
        if size % patch:
            raise ValueError(f"{name}: {size} is not a multiple of patch {patch}")
    for name, scale in (("global_scale", global_scale), ("local_scale", local_scale)):
        if scale[0] > scale[1]:
            raise ValueError(f"{name}: {scale} must be [low, high]")
    if hidden % heads:
        raise ValueError(f"hidden: {hidden} is not a multiple of heads {heads}")
