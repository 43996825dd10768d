"""A key-value cache of confident images that votes on the class of others (TFUP, arXiv 2404.16339).

Shape legend: U images, M cached images, K classes, P dimensions. Features of images have unit length, class vectors that of
the encoder's logit scale, so that a product of both is a class logit of CLIP.
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax, one_hot

# What CLIP's logits are divided by wherever class probabilities are compared: of the logits themselves, all but one vanish.
# With the scale of the public CLIP, 100, that is the factor 10 on the cosines in the authors' code.
TEMPERATURE = 10.0
_CHUNK = 2048


def representatives(probability_UK: torch.Tensor, m: int, prototype_filter: bool = True) -> torch.Tensor:
    """Indices int64 [K, min(m, U)] of the images that stand for each class.

    The 2m images (all, if there are fewer) with the largest probability of the class are its candidates. Of these,
    those m are kept whose distribution is closest to the others': smallest sum over candidates i of KL(P_j || P_i).
    Without `prototype_filter`: the m most probable. Equals keep the order of their probability, then of their index.
    """
    log_UK = probability_UK.log()
    kept = []
    for k in range(probability_UK.shape[1]):
        candidates = probability_UK[:, k].sort(descending=True, stable=True).indices[: 2 * m]
        if prototype_filter:
            p_CK, log_CK = probability_UK[candidates], log_UK[candidates]
            own_C = (p_CK * log_CK).sum(dim=1)
            distance_C = (own_C[:, None] - p_CK @ log_CK.T).sum(dim=1)
            candidates = candidates[distance_C.sort(stable=True).indices]
        kept.append(candidates[:m])
    return torch.stack(kept)


def semantic_similarity(feature_UP: torch.Tensor, key_MP: torch.Tensor, text_KP: torch.Tensor) -> torch.Tensor:
    """[U, M] in 0..2: 2 for the cached image whose class distribution is closest in KL(q || q_j), 0 for the farthest.

    The scale of a row is set by the whole cache. Where all are equally close it is 1 for all.
    """
    log_UK = log_softmax(feature_UP @ text_KP.T / TEMPERATURE, dim=1)
    log_MK = log_softmax(key_MP @ text_KP.T / TEMPERATURE, dim=1)
    q_UK = log_UK.exp()
    divergence_UM = (q_UK * log_UK).sum(dim=1, keepdim=True) - q_UK @ log_MK.T
    low = divergence_UM.amin(dim=1, keepdim=True)
    spread = divergence_UM.amax(dim=1, keepdim=True) - low
    flat = spread <= 100 * torch.finfo(spread.dtype).eps  # what is left of equal sums after rounding
    similarity_UM = 2 * (1 - (divergence_UM - low) / torch.where(flat, 1, spread))
    return torch.where(flat, 1, similarity_UM)


def votes(
    feature_UP: torch.Tensor, key_MP: torch.Tensor, text_KP: torch.Tensor, beta: float, semantic: bool
) -> torch.Tensor:
    """Weight [U, M] of each cached image: exp(-beta (1 - r)), r the cosine times (if `semantic`) the similarity above."""
    affinity_UM = feature_UP @ key_MP.T
    if semantic:
        affinity_UM = affinity_UM * semantic_similarity(feature_UP, key_MP, text_KP)
    return torch.exp(-beta * (1 - affinity_UM))


def cache_logits(
    feature_UP: torch.Tensor,
    key_MP: torch.Tensor,
    label_M: torch.Tensor,
    text_KP: torch.Tensor,
    *,
    alpha: float,
    beta: float,
    semantic: bool,
) -> torch.Tensor:
    """Class logits [U, K]: zero-shot logits plus `alpha` times the votes of the cache per class."""
    value_MK = one_hot(label_M, len(text_KP)).to(feature_UP.dtype)
    parts = []
    for feature in feature_UP.split(_CHUNK):
        voted = votes(feature, key_MP, text_KP, beta, semantic) @ value_MK
        parts.append(feature @ text_KP.T + alpha * voted)
    return torch.cat(parts)
