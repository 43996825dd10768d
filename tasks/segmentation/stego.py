"""STEGO: distilling feature correspondences into dense clusters.

Hamilton, Zhang, Hariharan, Snavely, Freeman, ICLR 2022, arXiv 2203.08414.

Shape legend: n images, h, w patch grid, B batch, D features, S code, P sampled points, K clusters.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.functional import grid_sample, interpolate, normalize

from tasks import progress

_REPORT_EVERY = 50


class PairLoss(BaseModel):
    """`weight` of one kind of image pair and its `bias` b: correspondences below b are pushed apart."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    weight: Annotated[float, Field(ge=0)]
    bias: float


class Stego(BaseModel):
    """Settings of the head's training.

    `self`, `knn` and `random` pairs as in section 3.2; defaults are those of the authors' configuration. `code`:
    dimensions of the head's output. `points`: side of the square of random points sampled from each image.
    `neighbours`: nearest images, by mean feature, to draw the `knn` partner from. `negatives`: random partners.
    `probe_lr`: learning rate of the cluster centroids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    code: Annotated[int, Field(ge=1)] = 70
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    points: Annotated[int, Field(ge=1)] = 11
    neighbours: Annotated[int, Field(ge=1)] = 7
    negatives: Annotated[int, Field(ge=1)] = 5
    same: PairLoss = PairLoss(weight=0.67, bias=0.18)
    knn: PairLoss = PairLoss(weight=0.25, bias=0.12)
    random: PairLoss = PairLoss(weight=0.63, bias=0.46)
    steps: Annotated[int, Field(ge=1)] = 5000
    batch_size: Annotated[int, Field(ge=2)] = 16
    lr: Annotated[float, Field(gt=0)] = 5e-4
    probe_lr: Annotated[float, Field(gt=0)] = 5e-3


class StegoHead(nn.Module):
    """Code S = linear(F) + MLP(F) of features F: [B, D, h, w] -> [B, S, h, w]; dropout falls on whole channels of F."""

    def __init__(self, dim: int, code: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.linear = nn.Conv2d(dim, code, 1)
        self.mlp = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU(), nn.Conv2d(dim, code, 1))

    def forward(self, features_BDhw: torch.Tensor) -> torch.Tensor:
        return self.linear(self.dropout(features_BDhw)) + self.mlp(self.dropout(features_BDhw))


def correspondence(a_BDP: torch.Tensor, b_BDP: torch.Tensor) -> torch.Tensor:
    """Cosine of every point of a with every point of b, [B, P, P] (eq. 1)."""
    return torch.einsum("bdp,bdq->bpq", normalize(a_BDP, dim=1), normalize(b_BDP, dim=1))


def correspondence_loss(features_BPP: torch.Tensor, code_BPP: torch.Tensor, bias: float) -> torch.Tensor:
    """-mean(max(S, 0) (F - b)) with F centred per row, its total mean kept (eq. 4, "spatial centering", and eq. 3)."""
    centred = features_BPP - features_BPP.mean(dim=2, keepdim=True)
    centred = centred - centred.mean() + features_BPP.mean()
    return -(code_BPP.clamp(min=0) * (centred - bias)).mean()


def sample_points(maps_BDhw: torch.Tensor, points_BppX: torch.Tensor) -> torch.Tensor:
    """Bilinear values [B, D, P] at points in -1..1."""
    return grid_sample(maps_BDhw, points_BppX, padding_mode="border", align_corners=True).flatten(2)


def nearest_images(features_nhwD: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """For each of `rows` the positions in `rows` of its `count` nearest others by cosine of the mean feature."""
    mean = np.stack([np.asarray(features_nhwD[row], dtype=np.float64).mean(axis=(0, 1)) for row in rows])
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    cosine = mean @ mean.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, : min(count, len(rows) - 1)]


def fit_stego(
    features_nhwD: np.ndarray, rows: np.ndarray, n_clusters: int, settings: Stego, seed: int, device: str = "cpu"
) -> tuple[StegoHead, torch.Tensor, list[float]]:
    """Train head and cluster probe on the images `rows`; (head, unit centroids [K, S], mean loss of every 50 steps).

    The probe's centroids maximise the mean cosine of detached codes to their nearest centroid.
    Raises ValueError if there are fewer than two images.
    """
    if len(rows) < 2:
        raise ValueError(f"dense: stego needs pairs of images, got {len(rows)} in split train; use step kmeans")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    dim = features_nhwD.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        head = StegoHead(dim, settings.code, settings.dropout).to(device)
        probe = nn.Parameter(torch.randn(n_clusters, settings.code).to(device))
        losses = _train(head, probe, features_nhwD, rows, settings, rng, generator, device)
    return head.eval(), normalize(probe.detach(), dim=1), losses


def _train(
    head: StegoHead,
    probe: nn.Parameter,
    features_nhwD: np.ndarray,
    rows: np.ndarray,
    settings: Stego,
    rng: np.random.Generator,
    generator: torch.Generator,
    device: str,
) -> list[float]:
    """The loop of `fit_stego`; dropout draws from torch's global state, which the caller has forked and seeded."""
    neighbours = nearest_images(features_nhwD, rows, settings.neighbours)
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.lr)
    probe_optimizer = torch.optim.Adam([probe], lr=settings.probe_lr)
    batch = min(settings.batch_size, len(rows))
    losses: list[float] = []
    for step in range(settings.steps):
        chosen = rng.choice(len(rows), batch, replace=False)
        near = neighbours[chosen, rng.integers(neighbours.shape[1], size=batch)]
        images, images_near = (_maps(features_nhwD, rows[index], device) for index in (chosen, near))
        codes, codes_near = head(images), head(images_near)
        loss = settings.same.weight * _pair(images, codes, images, codes, settings, settings.same.bias, generator)
        loss = loss + settings.knn.weight * _pair(
            images, codes, images_near, codes_near, settings, settings.knn.bias, generator
        )
        for _ in range(settings.negatives):
            other = torch.from_numpy(_derangement(batch, rng)).to(device)
            pair = _pair(images, codes, images[other], codes[other], settings, settings.random.bias, generator)
            loss = loss + settings.random.weight * pair / settings.negatives
        inner = torch.einsum("bsp,ks->bkp", normalize(codes.detach().flatten(2), dim=1), normalize(probe, dim=1))
        probe_loss = -inner.max(dim=1).values.mean()
        for one in (optimizer, probe_optimizer):
            one.zero_grad(set_to_none=True)
        (loss + probe_loss).backward()
        optimizer.step()
        probe_optimizer.step()
        losses.append(loss.item())
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == settings.steps:
            progress.report(step + 1, settings.steps, loss=losses[-1])
    return [float(np.mean(losses[i : i + _REPORT_EVERY])) for i in range(0, len(losses), _REPORT_EVERY)]


@torch.no_grad()
def stego_clusters(
    head: StegoHead, centroids_KS: torch.Tensor, features_nhwD: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Cluster of every pixel, int16 [n, H, W]: codes are upsampled bilinearly, then the largest cosine decides."""
    device = centroids_KS.device
    clusters = np.empty((len(features_nhwD), height, width), dtype=np.int16)
    for row in range(len(features_nhwD)):
        code = head(_maps(features_nhwD, np.array([row]), str(device)))
        code = interpolate(code, size=(height, width), mode="bilinear", align_corners=False)
        inner = torch.einsum("bshw,ks->bkhw", normalize(code, dim=1), centroids_KS)
        clusters[row] = inner.argmax(dim=1)[0].cpu().numpy()
    return clusters


def _maps(features_nhwD: np.ndarray, rows: np.ndarray, device: str) -> torch.Tensor:
    batch = np.array(features_nhwD[rows], dtype=np.float32)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().to(device)


def _pair(
    features_a: torch.Tensor,
    codes_a: torch.Tensor,
    features_b: torch.Tensor,
    codes_b: torch.Tensor,
    settings: Stego,
    bias: float,
    generator: torch.Generator,
) -> torch.Tensor:
    shape = (len(features_a), settings.points, settings.points, 2)
    points = [(torch.rand(shape, generator=generator) * 2 - 1).to(features_a.device) for _ in range(2)]
    f = correspondence(sample_points(features_a, points[0]), sample_points(features_b, points[1]))
    s = correspondence(sample_points(codes_a, points[0]), sample_points(codes_b, points[1]))
    return correspondence_loss(f, s, bias)


def _derangement(count: int, rng: np.random.Generator) -> np.ndarray:
    """A permutation of 0..count-1, uniform but for this: no entry stays in place."""
    while True:
        order = rng.permutation(count)
        if not (order == np.arange(count)).any():
            return order
