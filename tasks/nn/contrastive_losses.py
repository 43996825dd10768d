"""Contrastive losses over pairs of anchors and candidates.

A loss sees `Pairs`: which anchor may be compared with which candidate, and how similar they are. Pairs come from
several augmented views of a batch (`view_pairs`: every other view is a candidate, as in SimCLR and SupCon) or from
a queue of keys (`queue_pairs`: the own key and the queue are candidates, as in MoCo), so each loss is written once.

Shape legend: V views, B images of a batch, A anchors, N candidates, D dimensions, n samples of the data set.
"""

from dataclasses import dataclass

import torch

EMPTY = -1


@dataclass(frozen=True)
class Pairs:
    """Anchors against candidates.

    `cosine_AN`: similarity. `candidate_AN`: whether the pair exists. `own_AN`: whether the candidate is another
    view of the anchor's image. `anchor_row_A1` and `candidate_row_AN` (or `_1N`): the samples they are views of.
    """

    cosine_AN: torch.Tensor
    candidate_AN: torch.Tensor
    own_AN: torch.Tensor
    anchor_row_A1: torch.Tensor
    candidate_row_AN: torch.Tensor

    def same(self, id_n: torch.Tensor) -> torch.Tensor:
        """Boolean [A, N]: the pair exists and both samples have the same entry of `id_n` (int64 [n])."""
        return self.candidate_AN & (id_n[self.anchor_row_A1] == id_n[self.candidate_row_AN])


def view_pairs(views_VBD: torch.Tensor, rows_B: torch.Tensor | None = None) -> Pairs:
    """Each view of each image against all other views; `rows_B` are the images' samples (default 0..B-1).

    Views must have unit length. Raises ValueError with fewer than two views: an image would have no positive.
    """
    if views_VBD.ndim != 3 or len(views_VBD) < 2:
        raise ValueError(f"views must be [V, B, D] with at least 2 views per image, got {tuple(views_VBD.shape)}")
    views, batch, _ = views_VBD.shape
    device = views_VBD.device
    z_AD = views_VBD.flatten(0, 1)
    image_A = torch.arange(batch, device=device).repeat(views)
    row_A = image_A if rows_B is None else rows_B.repeat(views)
    candidate_AA = ~torch.eye(len(z_AD), dtype=torch.bool, device=device)
    own_AA = candidate_AA & (image_A[:, None] == image_A)
    return Pairs(z_AD @ z_AD.T, candidate_AA, own_AA, row_A[:, None], row_A[None, :])


def queue_pairs(
    query_BD: torch.Tensor,
    key_BD: torch.Tensor,
    queue_ND: torch.Tensor,
    rows_B: torch.Tensor,
    queue_rows_N: torch.Tensor,
) -> Pairs:
    """Each query against its own key (first candidate) and the queue (He et al., CVPR 2020, arXiv 1911.05722).

    `queue_rows_N` are the samples whose keys the queue holds, `EMPTY` (-1) where it holds none yet. All must have
    unit length; keys take no gradient.
    """
    cosine = torch.cat([(query_BD * key_BD.detach()).sum(dim=1, keepdim=True), query_BD @ queue_ND.detach().T], dim=1)
    rows_B1 = rows_B[:, None]
    candidate_row = torch.cat([rows_B1, queue_rows_N.expand(len(rows_B), -1)], dim=1)
    own = torch.zeros_like(cosine, dtype=torch.bool)
    own[:, 0] = True
    return Pairs(cosine, candidate_row != EMPTY, own, rows_B1, candidate_row)


def nt_xent(pairs: Pairs, temperature: float) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy (SimCLR: Chen et al., ICML 2020, arXiv 2002.05709, eq. 1)."""
    return _info_nce(pairs.cosine_AN, pairs.candidate_AN, pairs.own_AN, temperature).mean()


def supcon(
    pairs: Pairs,
    class_n: torch.Tensor,
    temperature: float,
    *,
    positives: int | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Supervised contrastive loss, positives averaged outside the logarithm (Khosla et al., NeurIPS 2020,
    arXiv 2004.11362, eq. 2); `class_n` is the class of each sample.

    With `positives` = k, at most k random candidates of the class beside the own views are positives, the others
    stay in the denominator (KCL: Kang et al., Exploring Balanced Feature Spaces for Representation Learning, ICLR 2021).
    """
    same_AN = pairs.same(class_n)
    if positives is not None:
        same_AN = pairs.own_AN | _at_most(same_AN & ~pairs.own_AN, positives, generator)
    return _info_nce(pairs.cosine_AN, pairs.candidate_AN, same_AN, temperature).mean()


def subclass_balancing(
    pairs: Pairs,
    class_n: torch.Tensor,
    subclass_n: torch.Tensor,
    *,
    temperature: float,
    class_temperature_n: torch.Tensor,
    subclass_weight: float,
    class_weight: float,
) -> torch.Tensor:
    """Subclass-balancing contrastive loss (SBCL: Hou et al., ICCV 2023, arXiv 2306.15925).

    mean over anchors of `subclass_weight` * L1 + `class_weight` * L2. L1 is SupCon over subclasses at
    `temperature`. L2 pulls the class together at `class_temperature_n` (that of the anchor's class, for each
    sample): samples of the anchor's own subclass, other than its own views, are absent from both numerator and
    denominator, so that the second level does not undo the first. `class_n`, `subclass_n`: ids of each sample.
    """
    same_subclass_AN = pairs.same(subclass_n)
    loss = subclass_weight * _info_nce(pairs.cosine_AN, pairs.candidate_AN, same_subclass_AN, temperature)
    if class_weight:
        candidate_AN = (pairs.candidate_AN & ~same_subclass_AN) | pairs.own_AN
        positive_AN = candidate_AN & pairs.same(class_n)
        loss = loss + class_weight * _info_nce(
            pairs.cosine_AN, candidate_AN, positive_AN, class_temperature_n[pairs.anchor_row_A1]
        )
    return loss.mean()


def _info_nce(
    cosine_AN: torch.Tensor, candidate_AN: torch.Tensor, positive_AN: torch.Tensor, temperature: float | torch.Tensor
) -> torch.Tensor:
    """-mean over positives of log softmax over candidates, for each anchor [A]; `temperature` scalar or [A, 1]."""
    if not torch.is_tensor(temperature) and temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    logits_AN = cosine_AN / temperature
    # The least finite value rather than -inf, whose gradient is NaN where a whole row is masked.
    log_total_A = logits_AN.masked_fill(~candidate_AN, torch.finfo(logits_AN.dtype).min).logsumexp(dim=1)
    weight_AN = positive_AN.to(logits_AN.dtype)
    return log_total_A - (logits_AN * weight_AN).sum(dim=1) / weight_AN.sum(dim=1)


def _at_most(mask_AN: torch.Tensor, k: int, generator: torch.Generator | None) -> torch.Tensor:
    """`mask_AN` with at most `k` random True entries left in each row."""
    if k >= mask_AN.shape[1]:
        return mask_AN
    draw_AN = torch.rand(mask_AN.shape, generator=generator).to(mask_AN.device).masked_fill(~mask_AN, -1.0)
    chosen_AN = torch.zeros_like(mask_AN).scatter_(1, draw_AN.topk(k, dim=1).indices, True)
    return mask_AN & chosen_AN
