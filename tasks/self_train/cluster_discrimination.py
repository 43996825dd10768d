"""An encoder trained from scratch to tell clusters apart.

Shape legend: n samples, B batch, P positives of an image, K classes, D feature.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Model, PseudoLabels, network_of
from tasks.nn.cluster_discrimination_loss import (
    MarginGrad,
    mlc_loss,
    mlcd_loss,
    positive_logits,
    sampled_cosines,
    softmax_loss,
)
from tasks.nn.encoder import EncoderSettings, build_encoder, image_tensor
from tasks.nn.training import Optimizer, train
from tasks.vision.augmentation import Augmentation, augment

LOSSES = {"mlcd": mlcd_loss, "mlc": mlc_loss, "softmax": softmax_loss}
WEIGHT_STD = 0.01
# Images and random classes per image whose cosines are kept for evaluation.
COSINE_IMAGES, COSINE_NEGATIVES = 512, 32


def cluster_discrimination(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    *,
    loss: Literal["mlcd", "mlc", "softmax"] = "mlcd",
    encoder: EncoderSettings,
    augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
    scale: Annotated[float, Field(gt=0)] = 64.0,
    margin: Annotated[float, Field(ge=0, lt=np.pi)] = 0.3,
    margin_grad: MarginGrad = "straight_through",
    negative_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1,
    optimizer: Optimizer,
    epochs: Annotated[int, Field(ge=0)],
    batch_size: Annotated[int, Field(ge=1)],
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """Multi-label cluster discrimination (MLCD: An et al., ECCV 2024, arXiv 2407.17331, sections 3.2-3.3).

    An encoder and one weight vector per cluster are trained together so that the cosine of an image is high with
    its positive clusters and low with a random subset of all others. The encoder starts from scratch, the class
    weights from N(0, 0.01^2): they live in the encoder's space, not in that of the centroids.

    Parameters
    ----------
    loss: `mlcd` (positive and negative term apart), `mlc` (one joint term), `softmax` (single label: UNICOM).
    encoder, augmentation, optimizer: nested groups.
    scale: factor from cosine to logit. The paper does not say; 64 is what its authors use elsewhere.
    margin: additive angle in radians on positives (ArcFace). margin_grad: its exact gradient, or that of no margin.
    negative_ratio: share of the K classes drawn anew at each step, without replacement; an image's own positives
        among them do not count as its negatives, those of other images do.
    epochs: passes over split `train`; 0 leaves the random initialisation.
    batch_size: images per step.
    device: where the network runs; data and all random draws stay on the CPU.

    Reads `nearest` int64 [units, P] and `n_clusters` of the pseudo-labels, one unit per sample; only rows of split
    `train` are trained on. Returns networks["encoder"], `embedding` float32 [n, D] of ALL samples (the backbone's
    feature, neither projected nor normalised), curve `loss`, and cosines with the class weights of up to 512 train
    images without augmentation: `cosine_{positive,negative}_{before,after}` float32.

    Raises ValueError: pseudo-labels absent or not one per sample; several positives with `softmax`; a
    `negative_ratio` that draws no class; a label outside 0..K-1; no train rows.
    """
    nearest_nP, n_classes = _labels(pseudo_labels, len(dataset.samples))
    if loss == "softmax" and nearest_nP.shape[1] != 1:
        raise ValueError(
            f"loss: softmax takes one positive per image, the pseudo-labels give {nearest_nP.shape[1]}; set l to 1"
        )
    n_sampled = round(negative_ratio * n_classes)
    if n_sampled < 1:
        raise ValueError(f"negative_ratio = {negative_ratio} draws none of {n_classes} classes; raise it")
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    images = dataset.arrays["images"]
    rows = dataset.rows("train")
    streams = np.random.SeedSequence(seed).spawn(5)
    network_seed, torch_seed, view_seed = (int(s.generate_state(1)[0]) for s in streams[:3])
    draws = torch.Generator().manual_seed(torch_seed)
    views = torch.Generator().manual_seed(view_seed)

    _, height, pixels, channels = image_tensor(images[:1]).shape
    network = build_encoder(encoder, (height, pixels, channels), network_seed).to(device)
    width = encoder.projection[-1] if encoder.projection else network.dim
    weights_KD = torch.nn.Parameter((WEIGHT_STD * torch.randn(n_classes, width, generator=draws)).to(device))
    loss_of_logits = LOSSES[loss]
    normalize = torch.nn.functional.normalize

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        batch_BHWC = augment(image_tensor(images[rows_B.numpy()]), augmentation, views).to(device)
        sampled = torch.randperm(n_classes, generator=draws)[:n_sampled].to(device)
        features_BD = normalize(network(batch_BHWC), dim=1)
        positive_BP, negative_BN, is_negative_BN = sampled_cosines(
            features_BD, normalize(weights_KD, dim=1), nearest_nP[rows_B].to(device), sampled
        )
        positive_BP = positive_logits(positive_BP, scale, margin, margin_grad)
        return loss_of_logits(positive_BP, scale * negative_BN, is_negative_BN)

    sample_rng = np.random.default_rng(streams[3])
    shown = np.sort(sample_rng.permutation(rows)[:COSINE_IMAGES])
    others = torch.from_numpy(sample_rng.integers(n_classes, size=(len(shown), COSINE_NEGATIVES)))

    def cosines(when: str) -> dict[str, np.ndarray]:
        features_BD = _features(network, images, shown, weights_KD.device)
        positive, negative = _cosines(features_BD, weights_KD, nearest_nP[shown], others)
        return {f"cosine_positive_{when}": positive, f"cosine_negative_{when}": negative}

    before = cosines("before")
    curves = train(
        loss_of_batch,
        [*network.parameters(), weights_KD],
        rows=rows,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(streams[4]),
    )
    embedding = _features(network.backbone, images, np.arange(len(images)), weights_KD.device)
    return Model(
        {"curves": curves},
        {"embedding": embedding.cpu().numpy(), **before, **cosines("after")},
        {"encoder": network_of(network, network.config())},
        meta={"loss": loss, "n_clusters": n_classes},
    )


def _labels(pseudo_labels: PseudoLabels, n_samples: int) -> tuple[torch.Tensor, int]:
    if "nearest" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: array 'nearest' is needed and absent; use step nearest_centroids")
    nearest, n_classes = np.array(pseudo_labels.arrays["nearest"]), int(pseudo_labels.meta["n_clusters"])
    sample = pseudo_labels.tables["units"]["sample"].to_numpy()
    if len(sample) != n_samples or (sample != np.arange(n_samples)).any():
        raise ValueError(f"pseudo_labels: {len(sample)} units for {n_samples} samples; one unit per sample is needed")
    if nearest.min() < 0 or nearest.max() >= n_classes:
        raise ValueError(f"pseudo_labels: 'nearest' has labels outside 0..{n_classes - 1}")
    return torch.from_numpy(nearest), n_classes


@torch.no_grad()
def _features(
    network: torch.nn.Module, images: np.ndarray, rows: np.ndarray, device: torch.device, chunk: int = 512
) -> torch.Tensor:
    """`network` on `images[rows]` in evaluation mode, a chunk in memory at a time."""
    training = network.training
    network.eval()
    parts = [network(image_tensor(images[rows[i : i + chunk]]).to(device)) for i in range(0, len(rows), chunk)]
    network.train(training)
    return torch.cat(parts)


def _cosines(
    features_BD: torch.Tensor, weights_KD: torch.Tensor, positives_BP: torch.Tensor, others_BM: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines to all positives, and to those of the other classes that are none, each flattened."""
    features_BD = torch.nn.functional.normalize(features_BD, dim=1).cpu()
    unit_KD = torch.nn.functional.normalize(weights_KD.detach(), dim=1).cpu()
    positive_BP = torch.einsum("bd,bpd->bp", features_BD, unit_KD[positives_BP])
    negative_BM = torch.einsum("bd,bmd->bm", features_BD, unit_KD[others_BM])
    is_negative_BM = (others_BM[:, :, None] != positives_BP[:, None, :]).all(dim=2)
    return positive_BP.flatten().numpy(), negative_BM[is_negative_BM].numpy()
