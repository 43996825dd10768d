"""Event sequences as vectors, joined with features that experts chose.

Shape legend: N units, T events, S sequence embedding, F features.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Representation, network_of
from tasks.nn.training import Optimizer, train
from tasks.sequences.time_attention import EVENT_DROPOUT, Pooling, build_autoencoder, check_sequences, encode

CLIP = 5.0
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


def bilstm_time_attention(
    dataset: Dataset,
    *,
    parts: Annotated[list[Literal["sequence", "features"]], Field(min_length=1)] = ["sequence", "features"],  # noqa: B006
    attention: Pooling = "time",
    embed: Count = 16,
    hidden: Count = 32,
    epochs: Annotated[int, Field(ge=0)] = 15,
    batch_size: Count = 128,
    optimizer: Optimizer = Optimizer(lr=2e-3, clip_norm=1.0),  # noqa: B008 (a declared default)
    sequence_weight: Weight = 1.0,
    feature_weight: Weight = 1.0,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """Hybrid representation of FinDeepBehaviorCluster (Min et al., AAAI 2021 workshop KDF, arXiv 2101.04285).

    A bidirectional LSTM with time attention reads each event sequence; it is trained without labels as the encoder of
    a sequence autoencoder (a GRU that tells events and gaps again from the embedding, half of its event inputs dropped).
    The digest of the paper at hand gives neither sizes nor the loss; both are chosen here. The embedding and the
    features (amounts and counts as log(1 + x)) are z-scored over split train, clipped at 5, and scaled by weight / sqrt(columns).

    Parameters
    ----------
    parts: which of `sequence` and `features` make up the embedding.
    attention: `time`, or `mean` over the events (an ablation).
    embed: size of an event's embedding. hidden: units of the LSTM in each direction; S = 2 hidden.
    epochs, batch_size, optimizer: training of the autoencoder; unused without `sequence`.
    sequence_weight, feature_weight: weight of each block; at 1 both have an expected squared norm of 1.
    device: where the autoencoder is trained.

    Needs `events` [n, T] (ids 1.., padding 0 at the end) and `gaps` [n, T] (seconds), `features` [n, F]; meta `n_events`,
    `log_features`. Units are the samples of split train: what comes later is unseen until it is judged. Returns `embedding`
    float32 [N, S + F], `attention` float32 [N, T] (sums to 1), the network `sequence_encoder`, its loss in `curves`.

    Raises ValueError naming the row: ids or gaps out of range, no event, padding before an event, features not finite.
    """
    rows = dataset.rows("train")
    blocks, result = [], Representation(tables={"units": pd.DataFrame({"unit": np.arange(len(rows)), "sample": rows})})
    if "sequence" in parts:
        events_NT, gaps_NT = np.array(dataset.arrays["events"][rows]), np.array(dataset.arrays["gaps"][rows])
        n_events = int(dataset.meta["n_events"])
        check_sequences(events_NT, gaps_NT, n_events)
        events = torch.from_numpy(events_NT.astype(np.int64)).to(device)
        gaps = torch.from_numpy(gaps_NT.astype(np.float32)).to(device)
        init, order, dropout = (int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(3))
        model = build_autoencoder(n_events, embed, hidden, attention, init).to(device)
        generator = torch.Generator().manual_seed(dropout)

        def loss_of_batch(batch: torch.Tensor, step: int) -> torch.Tensor:
            dropped = torch.rand(len(batch), events.shape[1], generator=generator) < EVENT_DROPOUT
            batch = batch.to(device)
            return model.loss(events[batch], gaps[batch], dropped.to(device))

        result.tables["curves"] = train(
            loss_of_batch,
            model.parameters(),
            rows=np.arange(len(rows)),
            batch_size=batch_size,
            epochs=epochs,
            optimizer=optimizer,
            rng=np.random.default_rng(order),
        )
        embedding_NS, result.arrays["attention"] = encode(model.encoder.eval(), events, gaps)
        result.networks["sequence_encoder"] = network_of(model.encoder, model.encoder.config())
        blocks.append(sequence_weight * unit_block(embedding_NS))
    if "features" in parts:
        blocks.append(feature_weight * unit_block(scaled_features(dataset, rows)))
    result.arrays["embedding"] = np.concatenate(blocks, axis=1).astype(np.float32)
    result.meta["parts"] = parts
    return result


def scaled_features(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Features float64 [N, F] of some samples, amounts and counts as log(1 + x); ValueError for what has no logarithm."""
    x_NF = np.array(dataset.arrays["features"][rows], dtype=np.float64)
    if not np.isfinite(x_NF).all():
        raise ValueError(
            f"dataset: features of sample {rows[int((~np.isfinite(x_NF)).any(1).argmax())]} are not finite"
        )
    names = dataset.meta["feature_names"]
    log = np.isin(names, dataset.meta["log_features"])
    if (x_NF[:, log] < 0).any():
        column = int((x_NF < 0).any(axis=0).nonzero()[0][0])  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"dataset: feature '{names[column]}' is negative; take it out of log_features")
    x_NF[:, log] = np.log1p(x_NF[:, log])
    return x_NF


def unit_block(x_ND: np.ndarray) -> np.ndarray:
    """Z-scores clipped at 5, over sqrt(columns): expected squared norm 1. A constant column becomes 0."""
    x_ND = np.asarray(x_ND, dtype=np.float64)
    spread_D = x_ND.std(axis=0)
    centred_ND = x_ND - x_ND.mean(axis=0)
    # A constant column keeps a spread of rounding errors, which must not be blown up.
    varies_D = spread_D > 1e-9 * np.maximum(1, np.abs(x_ND).max(axis=0, initial=0))
    z_ND = np.where(varies_D, centred_ND / np.where(varies_D, spread_D, 1), 0)
    return np.clip(z_ND, -CLIP, CLIP) / np.sqrt(x_ND.shape[1])
