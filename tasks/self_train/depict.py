"""Clustering and reconstruction trained together.

Shape legend: n samples, B batch, K clusters, d code.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from sklearn.metrics import normalized_mutual_info_score
from torch import nn

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation, network_of
from tasks.clustering.target_distribution import softmax_rows, target_assignments, unit_centroids
from tasks.curves import curve_table
from tasks.nn.early_stopping import BestWeights, hold_out
from tasks.nn.layerwise_autoencoder import (
    autoencoder_from_config,
    clean_codes,
    clean_loss,
    reconstruction_loss,
    signed_images,
)
from tasks.nn.training import Optimizer, train

Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]


def depict(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    warmup_epochs: Count = 1000,
    warmup_patience: Annotated[int, Field(ge=1)] = 5,
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    epochs: Count,
    batch_size: Annotated[int, Field(ge=1)] = 100,
    optimizer: Optimizer,
    rec_weight: Weight = 1.0,
    clus_weight: Weight = 1.0,
    tol: Weight = 1e-7,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """DEPICT (Ghasedi Dizaji et al., ICCV 2017, arXiv 1704.06327): a soft-max layer on the code of a denoising autoencoder.

    The layer starts with the unit-length centroids and bias 0. Warm-up: cross-entropy with the clusters as hard labels.
    Then, in turn: targets Q from P of the clean path, and an epoch that fits P of the noisy path to them by cross-entropy.
    Clean P of a batch is stored right after its update; the next Q comes from what is stored. Reconstruction of all layers
    is part of every loss. All samples are clustered, whatever their split.

    Parameters
    ----------
    warmup_epochs: passes at most over the part that is not `held_out`; ends after `warmup_patience` epochs without a better
        NMI of the clean path with the hard labels on the held-out part; the best weights are kept.
    epochs: passes at most with targets; ends when the mean squared change of Q is below `tol`.
    batch_size: images per step. optimizer: as declared, started anew for each phase.
    rec_weight, clus_weight: factors of the two losses.
    device: where the network runs; dropout is drawn on the CPU.

    The kind of target is the `mode` of the pseudo-labels. Returns table `predictions` (sample, prediction = largest clean p),
    `probability` float32 [n, K], `embedding` float32 [n, d] (clean codes), `labels_by_epoch` int16 [epochs + 1, n] (first
    those after the warm-up); networks "autoencoder" and "softmax"; curves `warmup_loss`, `loss`, `target_change`; meta
    `stop_epoch`, `reconstruction_before`, `reconstruction_after` (loss of the clean path).

    Raises ValueError: not one unit per sample, no autoencoder, centroids that a soft-max layer cannot tell apart.
    Raises FloatingPointError: a loss or a probability that is not finite.
    """
    n = len(dataset.samples)
    if "autoencoder" not in representation.networks:
        raise ValueError("representation: network 'autoencoder' is needed and absent; pretrain with 'conv_autoencoder'")
    units = clusters.tables["units"]
    if not np.array_equal(units["sample"].to_numpy(), np.arange(n)):
        raise ValueError(f"clusters: {len(units)} units for {n} samples, not one each")
    images, hard_n = dataset.arrays["images"], torch.from_numpy(units["cluster"].to_numpy().copy())
    mode, hidden_weight = pseudo_labels.meta["mode"], float(representation.meta["hidden_weight"])
    every = np.arange(n)
    streams = np.random.SeedSequence(seed).spawn(4)
    noise = torch.Generator().manual_seed(int(streams[0].generate_state(1)[0]))
    start = representation.networks["autoencoder"]
    autoencoder = autoencoder_from_config(start.config, start.state)
    network = nn.ModuleDict({"autoencoder": autoencoder, "softmax": centroid_layer(clusters.arrays["centroids"])})
    network.to(device)

    def logits(code_Bd: torch.Tensor) -> torch.Tensor:
        return network["softmax"](code_Bd)

    def joint_loss(rows_B: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """`target_B`: class ids [B] or probabilities [B, K]."""
        x_BCHW = signed_images(images[rows_B.numpy()]).to(device)
        clean, _ = autoencoder.encode(x_BCHW)
        _, noisy_code_Bd = autoencoder.encode(x_BCHW, noise)
        reconstruction = reconstruction_loss(clean, autoencoder.decode(noisy_code_Bd), hidden_weight)
        clustering = nn.functional.cross_entropy(logits(noisy_code_Bd), target_B.to(device))
        return rec_weight * reconstruction + clus_weight * clustering

    @torch.no_grad()
    def clean_probability(rows: np.ndarray) -> np.ndarray:
        code_Nd = torch.from_numpy(clean_codes(autoencoder, images, rows))
        p_NK = softmax_rows(logits(code_Nd.to(device)).cpu().numpy())
        if not np.isfinite(p_NK).all():
            raise FloatingPointError(f"cluster probabilities are not finite; lower optimizer.lr ({optimizer.lr})")
        return p_NK

    # Warm-up.
    fitted, held = hold_out(every, held_out, np.random.default_rng(streams[1]))
    best = BestWeights(network, warmup_patience)

    def after_warmup_epoch(epoch: int) -> bool:
        return best.see(float(normalized_mutual_info_score(hard_n[held], clean_probability(held).argmax(axis=1))))

    warmup = train(
        lambda rows_B, step: joint_loss(rows_B, hard_n[rows_B]),
        network.parameters(),
        rows=fitted,
        batch_size=batch_size,
        epochs=warmup_epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(streams[2]),
        after_epoch=after_warmup_epoch,
        curve="warmup_loss",
    )
    best.restore()

    # Targets and network in turn.
    p_nK = clean_probability(every)
    target = target_assignments(p_nK, mode)
    labels, changes = [p_nK.argmax(axis=1)], []
    batch = every

    def target_loss(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        nonlocal batch
        batch = rows_B.numpy()
        return joint_loss(rows_B, torch.from_numpy(target[batch].astype(np.float32)))

    def store(step: int, total: int) -> None:
        p_nK[batch] = clean_probability(batch)

    def after_epoch(epoch: int) -> bool:
        nonlocal target
        before, target = target, target_assignments(p_nK, mode)
        labels.append(p_nK.argmax(axis=1))
        changes.append(float(np.square(target - before).mean()))
        return changes[-1] < tol

    loss = train(
        target_loss,
        network.parameters(),
        rows=every,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(streams[3]),
        after_step=store,
        after_epoch=after_epoch,
    )
    probability_nK = clean_probability(every)
    curves = pd.concat([warmup, loss, curve_table("target_change", loss["x"], changes)], ignore_index=True)
    return Model(
        {
            "predictions": pd.DataFrame({"sample": every, "prediction": probability_nK.argmax(axis=1)}),
            "curves": curves,
        },
        {
            "probability": probability_nK.astype(np.float32),
            "embedding": clean_codes(autoencoder, images, every),
            "labels_by_epoch": np.array(labels).astype(np.int16),
        },
        {
            "autoencoder": network_of(autoencoder, autoencoder.config()),
            "softmax": network_of(
                network["softmax"], {"clusters": probability_nK.shape[1], "code": network["softmax"].in_features}
            ),
        },
        meta={
            "stop_epoch": len(loss),
            "reconstruction_before": float(representation.meta["reconstruction"]),
            "reconstruction_after": clean_loss(autoencoder, images, every, hidden_weight),
        },
    )


def centroid_layer(centroids_Kd: np.ndarray) -> nn.Linear:
    """A linear layer d -> K whose weights are the unit-length centroids, with bias 0."""
    weights_Kd = torch.from_numpy(unit_centroids(centroids_Kd).astype(np.float32))
    layer = nn.Linear(weights_Kd.shape[1], weights_Kd.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weights_Kd)
        nn.init.zeros_(layer.bias)
    return layer
