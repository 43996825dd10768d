"""Training that ends when a condition is met, and the best weights seen on the way.

Shape legend: B batch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch

from tasks.nn.training import LossOfBatch, Optimizer, curve_table, train


class _Stopped(Exception):
    """Ends the training loop from inside."""


def train_until(
    loss_of_batch: LossOfBatch,
    parameters: Iterable[torch.nn.Parameter],
    *,
    rows: np.ndarray,
    batch_size: int,
    epochs: int,
    optimizer: Optimizer,
    rng: np.random.Generator,
    after_batch: Callable[[torch.Tensor], None] | None = None,
    after_epoch: Callable[[int], bool],
    curve: str = "loss",
) -> pd.DataFrame:
    """`tasks.nn.training.train` for at most `epochs` passes, every row visited in each.

    `after_batch(rows_B)` is called after each update with the rows it was for; training ends when `after_epoch(epoch)`,
    epoch from 1, is true. Returns the curve table of the epochs that were trained. Raises as `train` does.
    """
    batches = math.ceil(len(rows) / max(batch_size, 1))
    seen: list[torch.Tensor] = []
    losses: list[float] = []

    def recorded(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        seen[:] = [rows_B]
        loss = loss_of_batch(rows_B, step)
        losses.append(loss.item())
        return loss

    def after_step(step: int, total: int) -> None:
        if after_batch is not None:
            after_batch(seen[0])
        if step % batches == 0 and after_epoch(step // batches):
            raise _Stopped

    with contextlib.suppress(_Stopped):
        train(
            recorded, parameters, rows=rows, batch_size=batch_size, epochs=epochs, optimizer=optimizer, rng=rng,
            after_step=after_step,
        )  # fmt: skip
    means = np.reshape(losses, (-1, batches)).mean(axis=1)
    return curve_table(curve, range(1, len(means) + 1), means)


class BestWeights:
    """The weights of a module at its highest score, and how long ago that was."""

    def __init__(self, module: torch.nn.Module, patience: int):
        self.module, self.patience = module, patience
        self.score, self.waited = -math.inf, 0
        self._state: dict[str, torch.Tensor] = {}

    def see(self, score: float) -> bool:
        """Keep the weights if `score` is the highest yet; whether `patience` scores in a row were not."""
        if score > self.score:
            self.score, self.waited = score, 0
            self._state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self) -> None:
        """Give the module its best weights back; nothing happens before the first score."""
        if self._state:
            self.module.load_state_dict(self._state)


def hold_out(rows: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`rows` split at random into those to train on and a `share` (at least one) held out; labels play no part.

    Raises ValueError: fewer than two rows, a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share held out must be between 0 and 1, got {share}")
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} rows: at least 2 are needed to hold one out")
    order = rng.permutation(rows)
    held = min(max(1, round(share * len(rows))), len(rows) - 1)
    return np.sort(order[held:]), np.sort(order[:held])
