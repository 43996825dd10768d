"""The one training loop: shuffled mini-batches, an optimiser with a schedule, a loss curve.

Shape legend: B batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field

from tasks import progress
from tasks.curves import curve_table

LossOfBatch = Callable[[torch.Tensor, int], torch.Tensor]


class Optimizer(BaseModel):
    """Optimiser and learning-rate schedule, stepped once per batch.

    `warmup` is a share of all steps, linear from 0. `cosine` falls to 0, `one_cycle` is cosine from
    lr/25 up to lr within `warmup` and down to lr/1e4 (Smith & Topin, arXiv 1708.07120).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None


def build_optimizer(parameters: Iterable[torch.nn.Parameter], settings: Optimizer) -> torch.optim.Optimizer:
    """The torch optimiser that `settings` describes; `momentum` is used by SGD only."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay)


def learning_rate(settings: Optimizer, step: int, total: int) -> float:
    """Learning rate of `step` (0-based) out of `total`."""
    done = step / max(total, 1)
    if settings.schedule == "one_cycle":
        low, end = settings.lr / 25, settings.lr / 1e4
        if done < settings.warmup:
            return low + (settings.lr - low) * (1 - math.cos(math.pi * done / settings.warmup)) / 2
        after = (done - settings.warmup) / (1 - settings.warmup)
        return end + (settings.lr - end) * (1 + math.cos(math.pi * after)) / 2
    if done < settings.warmup:
        return settings.lr * (step + 1) / max(1, math.ceil(settings.warmup * total))
    if settings.schedule == "cosine":
        after = (done - settings.warmup) / (1 - settings.warmup)
        return settings.lr * (1 + math.cos(math.pi * after)) / 2
    return settings.lr


def train(
    loss_of_batch: LossOfBatch,
    parameters: Iterable[torch.nn.Parameter],
    *,
    rows: np.ndarray,
    batch_size: int,
    epochs: int,
    optimizer: Optimizer,
    rng: np.random.Generator,
    before_epoch: Callable[[int], None] | None = None,
    after_step: Callable[[int, int], None] | None = None,
    after_epoch: Callable[[int], bool] | None = None,
    drop_last: bool = False,
    curve: str = "loss",
) -> pd.DataFrame:
    """Minimise `loss_of_batch(rows_B, step)` over `epochs` passes through `rows` in random order.

    `before_epoch(epoch)` may refresh targets, `after_step(step, total)` may update a teacher, and training ends early
    where `after_epoch(epoch)` is true (epoch from 0; the learning rate follows all `epochs` nevertheless). Returns
    the curve table (`curve`, `x` = epoch from 1, `y` = mean loss of the epoch). `epochs=0` trains nothing. Raises `ValueError` for a bad batch size and `FloatingPointError` for a non-finite loss.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len(rows) == 0:
        raise ValueError("no training rows")
    parameters = list(parameters)
    torch_optimizer = build_optimizer(parameters, optimizer)
    batches = len(rows) // batch_size if drop_last and len(rows) >= batch_size else math.ceil(len(rows) / batch_size)
    total, step, means = epochs * batches, 0, []
    for epoch in range(epochs):
        if before_epoch is not None:
            before_epoch(epoch)
        order, losses = rng.permutation(rows), []
        for batch in range(batches):
            for group in torch_optimizer.param_groups:
                group["lr"] = learning_rate(optimizer, step, total)
            batch_rows = torch.from_numpy(order[batch * batch_size : (batch + 1) * batch_size])
            loss = loss_of_batch(batch_rows, step)
            torch_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if optimizer.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip_norm)
            torch_optimizer.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"loss is {losses[-1]} at step {step}; lower optimizer.lr ({optimizer.lr})")
            step += 1
            if after_step is not None:
                after_step(step, total)
        means.append(float(np.mean(losses)))
        progress.report(epoch + 1, epochs, loss=means[-1])
        if after_epoch is not None and after_epoch(epoch):
            break
    return curve_table(curve, range(1, len(means) + 1), means)
