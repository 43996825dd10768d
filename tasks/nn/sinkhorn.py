"""Balanced soft assignment of samples to prototypes.

Shape legend: B samples, K prototypes, D dimensions, L rows of a queue.
"""

from __future__ import annotations

import torch


@torch.no_grad()
def sinkhorn(scores_BK: torch.Tensor, epsilon: float, n_iter: int = 3) -> torch.Tensor:
    """Codes [B, K] by Sinkhorn-Knopp (Cuturi, NeurIPS 2013, arXiv 1306.0895; SwAV, arXiv 2006.09882, eq. 3-5).

    exp(scores / epsilon) is scaled `n_iter` times: each prototype to the mass 1/K, then each sample to 1/B. Times B, every
    sample's code sums to 1, while prototypes weigh B/K only in the limit. Codes are soft and take no gradient;
    `n_iter` = 0 is softmax(scores / epsilon), without any balance. Scores of half precision are scaled in float32.

    Raises ValueError: fewer than 2 samples or prototypes, epsilon not above 0, negative n_iter, scores not finite.
    """
    if scores_BK.ndim != 2 or min(scores_BK.shape) < 2:
        raise ValueError(
            f"scores must be [B, K] with at least 2 samples and 2 prototypes, got {tuple(scores_BK.shape)}"
        )
    if epsilon <= 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}")
    if n_iter < 0:
        raise ValueError(f"n_iter must be at least 0, got {n_iter}")
    if not torch.isfinite(scores_BK).all():
        raise ValueError("scores hold NaN or infinity; lower optimizer.lr")
    # Logarithms: no score overflows, and none is so small that a whole row or column becomes 0.
    log_BK = scores_BK.to(torch.promote_types(scores_BK.dtype, torch.float32)) / epsilon
    for _ in range(n_iter):
        # 1/K and 1/B are left out: the next scaling takes any common factor away again.
        log_BK = (log_BK - log_BK.logsumexp(dim=0)).log_softmax(dim=1)
    return log_BK.softmax(dim=1)


class FeatureQueue:
    """The last `length` features, so that codes of a small batch are balanced over more than the batch."""

    def __init__(self, length: int, dim: int, device: str = "cpu"):
        self.features_LD = torch.zeros(length, dim, device=device)

    @property
    def is_full(self) -> bool:
        """Whether the last row was filled; the queue is of no use before."""
        return len(self.features_LD) > 0 and bool((self.features_LD[-1] != 0).any())

    def push(self, features_BD: torch.Tensor) -> None:
        """Put new features to the front; the oldest leave at the end."""
        self.features_LD = torch.cat([features_BD.detach(), self.features_LD])[: len(self.features_LD)]


@torch.no_grad()
def codes_with_queue(
    features_BD: torch.Tensor, queue: FeatureQueue | None, prototypes_KD: torch.Tensor, epsilon: float, n_iter: int
) -> torch.Tensor:
    """Codes [B, K] of a batch, balanced together with the queue if that is full; the batch then enters the queue.

    Scores of the queue are those of its features with the prototypes as they are now.
    """
    pool_ND = features_BD
    if queue is not None:
        if queue.is_full:
            pool_ND = torch.cat([queue.features_LD, features_BD])
        queue.push(features_BD)
    return sinkhorn(pool_ND @ prototypes_KD.T, epsilon, n_iter)[-len(features_BD) :]
