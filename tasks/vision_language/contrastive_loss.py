"""CLIP's loss for captions that repeat.

Shape legend: B batch, P projection.
"""

import torch


def image_text_loss(
    image_BP: torch.Tensor, text_BP: torch.Tensor, scale: torch.Tensor, caption_B: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy of CLIP (Radford et al., ICML 2021, arXiv 2103.00020, figure 3) with several positives.

    `scale` multiplies the cosines (the exponential of CLIP's logarithm). `caption_B` int64: equal numbers mark equal
    captions, over which the target of a row is spread evenly; with distinct captions it is CLIP's own loss.
    """
    unit = torch.nn.functional.normalize
    logits_BB = scale * unit(image_BP, dim=1) @ unit(text_BP, dim=1).T
    same_BB = (caption_B[:, None] == caption_B[None, :]).to(logits_BB.dtype)
    # Equal captions form blocks, so the target is symmetric and serves both directions.
    target_BB = same_BB / same_BB.sum(dim=1, keepdim=True)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits_BB, target_BB) + cross_entropy(logits_BB.T, target_BB)) / 2
