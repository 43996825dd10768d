"""PBN, the projection-based network for novel class discovery in tables: encoder, classifier, decoder, loss, training.

Troisemaine, Reiffers-Masson, Gosselin, Lemaire, Vaton: A practical approach to novel class discovery in tabular
data, Data Mining and Knowledge Discovery 2024 (arXiv 2311.05440).

Shape legend: B batch, N rows, D columns, L latent, C known classes.
"""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from tasks.nn.training import Optimizer, train

UNLABELLED = -1


class PBNSettings(BaseModel):
    """What one training of PBN depends on; see the step `pbn` for the meaning of each."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    hidden: list[float]
    latent: int
    w: float
    dropout: float
    optimizer: Optimizer
    batch_size: int
    epochs: int


class PBN(nn.Module):
    """Rows [B, D] -> latent [B, L] (`encoder`); unit latent -> logits [B, C] (`classifier`), rows [B, D] (`decoder`).

    `hidden` are the widths of the encoder's hidden layers, mirrored in the decoder. Each hidden layer is linear, ReLU,
    batch norm, dropout, in this order; the last layer of encoder and decoder is linear alone.
    """

    def __init__(self, columns: int, hidden: list[int], latent: int, classes: int, dropout: float):
        super().__init__()
        self.columns, self.hidden, self.latent, self.classes, self.dropout = columns, hidden, latent, classes, dropout
        self.encoder = _layers([columns, *hidden, latent], dropout)
        self.classifier = nn.Linear(latent, classes)
        self.decoder = _layers([latent, *reversed(hidden), columns], dropout)

    def config(self) -> dict:
        """JSON from which the network can be built again: the arguments of the constructor."""
        names = ("columns", "hidden", "latent", "classes", "dropout")
        return {"architecture": "pbn", **{name: getattr(self, name) for name in names}}

    def loss(self, x_BD: torch.Tensor, y_B: torch.Tensor, w: float) -> torch.Tensor:
        """w CE + (1 - w) REC of a batch; `y_B` is -1 where the class is not known."""
        z_BL = nn.functional.normalize(self.encoder(x_BD), dim=1)
        known = y_B != UNLABELLED
        loss = z_BL.new_zeros(())
        if known.any():
            loss = loss + w * nn.functional.cross_entropy(self.classifier(z_BL[known]), y_B[known])
        # At w = 1 the decoder is not run at all: its dropout would shift the random numbers of the encoder's.
        if w < 1:
            loss = loss + (1 - w) * reconstruction_error(x_BD, self.decoder(z_BL))
        return loss


def reconstruction_error(x_BD: torch.Tensor, reconstructed_BD: torch.Tensor) -> torch.Tensor:
    """REC: squared error summed over the columns and averaged over the rows."""
    return (x_BD - reconstructed_BD).square().sum(dim=1).mean()


def widths(columns: int, shares: list[float]) -> list[int]:
    """Hidden widths: a share of the number of columns each, rounded down, at least 1."""
    return [max(1, math.floor(share * columns)) for share in shares]


def train_pbn(
    x_ND: np.ndarray, y_N: np.ndarray, settings: PBNSettings, seed: np.random.SeedSequence
) -> tuple[PBN, pd.DataFrame]:
    """A network trained on all rows given (`y_N` int64, -1 where unlabelled) and its loss curve, in evaluation mode.

    Raises ValueError for fewer than two classes among the labelled rows.
    """
    classes = int(y_N.max()) + 1
    if classes < 2:
        raise ValueError(f"{max(classes, 0)} known classes among the training rows; at least two are needed")
    order_seed, torch_seed = seed.spawn(2)
    x, y = torch.from_numpy(np.array(x_ND, dtype=np.float32)), torch.from_numpy(np.array(y_N, dtype=np.int64))
    # Initialisation and dropout draw from torch's global generator, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch_seed.generate_state(1, np.uint64)[0]))
        columns = x_ND.shape[1]
        network = PBN(columns, widths(columns, settings.hidden), settings.latent, classes, settings.dropout)
        network.train()
        curve = train(
            lambda rows, step: network.loss(x[rows], y[rows], settings.w),
            network.parameters(),
            rows=np.arange(len(x_ND)),
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            optimizer=settings.optimizer,
            rng=np.random.default_rng(order_seed),
            # Batch norm has no statistics of a single row.
            drop_last=len(x_ND) % settings.batch_size == 1,
        )
    return network.eval(), curve


@torch.no_grad()
def latents(network: PBN, x_ND: np.ndarray) -> np.ndarray:
    """Un-normalised latent float32 [N, L] of rows, in evaluation mode."""
    training = network.training
    network.eval()
    z_NL = network.encoder(torch.from_numpy(np.array(x_ND, dtype=np.float32))).numpy()
    network.train(training)
    return z_NL


def unit_rows(z_NL: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32. Raises ValueError naming a zero row: an encoder that is dead there."""
    norms = np.linalg.norm(z_NL.astype(np.float64), axis=1, keepdims=True)
    if not (norms > 0).all():
        row = int((norms == 0).argmax())
        raise ValueError(f"latent of row {row} is zero and has no direction (a dead encoder); lower optimizer.lr")
    return (z_NL / norms).astype(np.float32)


def _layers(sizes: list[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.BatchNorm1d(after), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
