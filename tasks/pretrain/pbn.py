"""Projection-based novel class discovery: the representation."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset, Representation, network_of
from tasks.clustering.kmeans import fit_kmeans
from tasks.discovery.hidden_classes import Candidate, Tuning, search
from tasks.discovery.known_and_novel import known_classes, novel_rows, table_of
from tasks.metrics.clustering import clustering_accuracy
from tasks.nn.pbn import UNLABELLED, PBNSettings, latents, train_pbn, unit_rows
from tasks.nn.training import Optimizer

Share = Annotated[float, Field(ge=0, le=1)]
Rows = Literal["all", "known"]


def pbn(
    dataset: Dataset,
    *,
    hidden: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [0.75, 0.5],  # noqa: B006
    latent: Annotated[int, Field(ge=1)],
    w: Share,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    optimizer: Optimizer = Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),  # noqa: B008
    batch_size: Annotated[int, Field(ge=2)] = 512,
    epochs: Annotated[int, Field(ge=0)] = 200,
    rows: Rows = "all",
    array: str = "features",
    tune: Tuning | None = None,
    seed: int,
) -> Representation:
    """An encoder that tells the known classes apart and lets a decoder rebuild every row, known or novel.

    Troisemaine et al., A practical approach to novel class discovery in tabular data, Data Mining and Knowledge
    Discovery 2024 (arXiv 2311.05440): loss w CE + (1 - w) REC on the unit-length latent; CE is the mean over the known
    rows of a batch, REC the squared error summed over columns and averaged over all rows. The train rows of both
    kinds are mixed and reshuffled every epoch.

    Parameters
    ----------
    hidden: widths of the encoder's hidden layers as shares of the number of columns, rounded down.
    latent: size of the latent. w: weight of the classification, 0..1; the best value depends on the data.
    dropout: share of hidden units dropped. optimizer: AdamW with weight decay 0.01 in the paper.
    batch_size: rows per step. epochs: passes through the train rows.
    rows: train on `all` rows or on the `known` ones only (with w = 1 a plain classifier, the paper's baseline).
    array: array of the data set, one row per sample.
    tune: choose latent, w, dropout and optimizer.lr by random search, hiding known classes; `w: 1` stays as it is.
        Drawn from: latent 5..d, w 0..1, dropout 0..0.6 evenly, learning rate 1e-4..1e-2 log-evenly (the paper
        does not print its ranges; these hold all of its tuned values but two).

    Returns `latent` float32 [n, latent] of all rows and `embedding`, the same at unit length; network `pbn`;
    curves `loss` and, if tuned, `tuning_by_trial` (accuracy on hidden classes).

    Raises ValueError: fewer than two known classes, no novel rows, NaN or infinite values, novel rows all identical,
    a zero latent; with `tune` fewer than four known classes.
    """
    x_ND = table_of(dataset, array)
    known, novel = known_classes(dataset), novel_rows(dataset)
    if (x_ND[novel] == x_ND[novel[0]]).all():
        raise ValueError(f"all {len(novel)} novel rows are identical; there are no classes to find")
    y_N = np.full(len(x_ND), UNLABELLED, dtype=np.int64)
    y_N[known.rows] = known.index
    settings = PBNSettings(
        hidden=hidden, latent=latent, w=w, dropout=dropout, optimizer=optimizer, batch_size=batch_size, epochs=epochs
    )
    train_stream, tune_stream = np.random.SeedSequence(seed).spawn(2)
    curves, meta = [], {}
    if tune is not None:
        best, tuning = _tuned(x_ND[known.rows], known.index, settings, tune, rows, tune_stream)
        settings = _with(settings, best)
        curves.append(tuning)
        meta["tuned"] = best
    used = known.rows if rows == "known" else np.sort(np.concatenate([known.rows, novel]))
    network, loss = train_pbn(x_ND[used], y_N[used], settings, train_stream)
    z_NL = latents(network, x_ND)
    unit = np.arange(len(x_ND), dtype=np.int64)
    return Representation(
        {
            "units": pd.DataFrame({"unit": unit, "sample": unit}),
            "curves": pd.concat([loss, *curves], ignore_index=True),
        },
        {"latent": z_NL, "embedding": unit_rows(z_NL)},
        {"pbn": network_of(network, network.config())},
        meta,
    )


def _tuned(
    x_ND: np.ndarray, y_N: np.ndarray, settings: PBNSettings, tune: Tuning, rows: Rows, seed: np.random.SeedSequence
) -> tuple[Candidate, pd.DataFrame]:
    """Search on the known rows alone: the hidden ones play the novel ones, and the real novel ones are left out."""

    def draw(rng: np.random.Generator) -> Candidate:
        return {
            "latent": int(rng.integers(min(5, x_ND.shape[1]), x_ND.shape[1] + 1)),
            "w": float(rng.uniform(0, 1)) if settings.w < 1 else 1.0,
            "dropout": float(rng.uniform(0, 0.6)),
            "lr": float(10 ** rng.uniform(-4, -2)),
        }

    def score(candidate: Candidate, hidden: np.ndarray, stream: np.random.SeedSequence) -> float:
        is_hidden = np.isin(y_N, hidden)
        stays = np.setdiff1d(np.unique(y_N), hidden)
        labels = np.where(is_hidden, UNLABELLED, np.searchsorted(stays, y_N))
        used = np.flatnonzero(~is_hidden) if rows == "known" else np.arange(len(y_N))
        network, _ = train_pbn(x_ND[used], labels[used], _with(settings, candidate), stream)
        z_NL = unit_rows(latents(network, x_ND[is_hidden]))
        found = fit_kmeans(z_NL, len(hidden), n_init=10, seed=int(stream.generate_state(1)[0])).labels
        return clustering_accuracy(found, y_N[is_hidden])

    return search(tune, int(y_N.max()) + 1, draw, score, seed)


def _with(settings: PBNSettings, candidate: Candidate) -> PBNSettings:
    others = {name: value for name, value in candidate.items() if name != "lr"}
    optimizer = settings.optimizer.model_copy(update={"lr": candidate["lr"]})
    return settings.model_copy(update={**others, "optimizer": optimizer})
