"""What early stopping needs: rows held out, and the best weights seen on the way."""

from __future__ import annotations

import math

import numpy as np
import torch


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
