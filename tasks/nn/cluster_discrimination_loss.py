"""Losses of cluster discrimination: single-label, multi-label, and multi-label with separate terms.

An et al., Multi-label Cluster Discrimination for Visual Representation Learning, ECCV 2024, arXiv 2407.17331.

Shape legend: B batch, P positives of an image, N sampled classes, K all classes, D dimensions.

All losses take logits s = scale * cosine: `positive_BP` and `negative_BN`, and a mask `is_negative_BN` that is False
where a sampled class is a positive of that image (None: all are negatives). They return the mean over the batch.
Everything is computed as log-sum-exp, so large logits overflow in no precision.
"""

import math
from typing import Literal

import torch

MarginGrad = Literal["exact", "straight_through"]


def mlcd_loss(
    positive_BP: torch.Tensor, negative_BN: torch.Tensor, is_negative_BN: torch.Tensor | None = None
) -> torch.Tensor:
    """Disambiguated multi-label loss (section 3.3): log(1 + sum exp(-s_pos)) + log(1 + sum exp(s_neg)).

    Both terms have their own boundary at s = 0; an image without negatives has the positive term alone.
    """
    negative_BN = _masked(negative_BN, is_negative_BN)
    return (_log_one_plus_sum_exp(-positive_BP) + _log_one_plus_sum_exp(negative_BN)).mean()


def mlc_loss(
    positive_BP: torch.Tensor, negative_BN: torch.Tensor, is_negative_BN: torch.Tensor | None = None
) -> torch.Tensor:
    """Plain multi-label loss (section 3.3): log(1 + sum exp(s_neg) * sum exp(-s_pos)).

    Circle loss has this form (Sun et al., CVPR 2020, arXiv 2002.10857). No negative: the loss is 0.
    """
    pull_B = torch.logsumexp(-positive_BP, dim=1)
    push_B = torch.logsumexp(_masked(negative_BN, is_negative_BN), dim=1)
    return torch.nn.functional.softplus(pull_B + push_B).mean()


def softmax_loss(
    positive_B1: torch.Tensor, negative_BN: torch.Tensor, is_negative_BN: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy over the one positive and the negatives (UNICOM: An et al., ICLR 2023, arXiv 2304.05884)."""
    if positive_B1.shape[1] != 1:
        raise ValueError(f"softmax loss takes one positive per image, got {positive_B1.shape[1]}")
    logits = torch.cat([positive_B1, _masked(negative_BN, is_negative_BN)], dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def positive_logits(
    cosine: torch.Tensor, scale: float, margin: float, margin_grad: MarginGrad = "exact"
) -> torch.Tensor:
    """scale * cos(arccos(cosine) + margin), the angle clamped at pi.

    ArcFace: Deng et al., CVPR 2019, arXiv 1801.07698. `margin` (radians) lowers the logit of a positive, which makes
    it harder. `straight_through` gives the same value with the gradient of scale * cosine, as partial-FC does.
    """
    # Just inside [-1, 1], where the slope of arccos is finite.
    inside = cosine.float().clamp(-1 + 1e-7, 1 - 1e-7)
    harder = torch.cos((torch.arccos(inside) + margin).clamp(max=math.pi)).to(cosine.dtype)
    if margin_grad == "straight_through":
        harder = cosine + (harder - cosine).detach()
    return scale * harder


def sampled_cosines(
    features_BD: torch.Tensor, weights_KD: torch.Tensor, positives_BP: torch.Tensor, sampled_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cosines to the positives [B, P] and to the sampled classes [B, N], and the mask `is_negative` [B, N].

    Both inputs must have rows of unit length. Positives of other images of the batch stay negatives of this one.
    """
    positive_BP = torch.einsum("bd,bpd->bp", features_BD, weights_KD[positives_BP]).clamp(-1, 1)
    negative_BN = (features_BD @ weights_KD[sampled_N].T).clamp(-1, 1)
    column_K = torch.full((len(weights_KD),), -1, dtype=torch.long, device=features_BD.device)
    column_K[sampled_N] = torch.arange(len(sampled_N), device=features_BD.device)
    column_BP = column_K[positives_BP]
    row, slot = torch.nonzero(column_BP >= 0, as_tuple=True)
    is_negative_BN = torch.ones_like(negative_BN, dtype=torch.bool)
    is_negative_BN[row, column_BP[row, slot]] = False
    return positive_BP, negative_BN, is_negative_BN


def _masked(negative_BN: torch.Tensor, is_negative_BN: torch.Tensor | None) -> torch.Tensor:
    # The least finite value, not -inf: a row of -inf has no gradient.
    if is_negative_BN is None:
        return negative_BN
    return negative_BN.masked_fill(~is_negative_BN, torch.finfo(negative_BN.dtype).min)


def _log_one_plus_sum_exp(x: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(torch.cat([x.new_zeros(len(x), 1), x], dim=1), dim=1)
