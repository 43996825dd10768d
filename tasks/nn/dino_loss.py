"""Losses and teacher updates of self-distillation without labels.

DINO: Caron et al., ICCV 2021, arXiv 2104.14294. iBOT: Zhou et al., ICLR 2022, arXiv 2111.07832.

Shape legend: B batch, V views, G views seen by the teacher, N patches, M hidden patches, P prototypes.
"""

import math

import torch
from torch import nn
from torch.nn.functional import log_softmax, softmax

CENTRE_MOMENTUM = 0.9


class Centre:
    """Running mean of the teacher's outputs, subtracted before its softmax so that no prototype takes all (eq. 4)."""

    def __init__(self, prototypes: int, momentum: float = CENTRE_MOMENTUM, device: str = "cpu"):
        self.mean_P = torch.zeros(prototypes, device=device)
        self.momentum = momentum

    def update(self, teacher: torch.Tensor) -> None:
        """Move towards the mean of `teacher` [..., P] over all but its last dimension."""
        batch_P = teacher.detach().reshape(-1, teacher.shape[-1]).mean(dim=0)
        self.mean_P = self.momentum * self.mean_P + (1 - self.momentum) * batch_P


def teacher_distribution(logits: torch.Tensor, centre: Centre, tau: float) -> torch.Tensor:
    """softmax((z - centre) / tau) over the prototypes, without gradient."""
    return softmax((logits.detach() - centre.mean_P) / tau, dim=-1)


def view_loss(teacher_GBP: torch.Tensor, student_VBP: torch.Tensor, tau_student: float) -> torch.Tensor:
    """Mean cross-entropy over the pairs of a teacher's view and another view of the student (eq. 3).

    `teacher_GBP` are distributions, `student_VBP` logits whose first G views are those the teacher saw.
    """
    log_p_VBP = log_softmax(student_VBP / tau_student, dim=-1)
    cross_GV = -torch.einsum("gbp,vbp->gv", teacher_GBP, log_p_VBP) / teacher_GBP.shape[1]
    other_GV = ~torch.eye(*cross_GV.shape, dtype=torch.bool, device=cross_GV.device)
    return cross_GV[other_GV].mean()


def masked_patch_loss(teacher_MP: torch.Tensor, student_MP: torch.Tensor, tau_student: float) -> torch.Tensor:
    """Mean cross-entropy at the patches hidden from the student (iBOT, eq. 2): distributions and logits."""
    return -(teacher_MP * log_softmax(student_MP / tau_student, dim=-1)).sum(dim=-1).mean()


def entropy(distribution: torch.Tensor) -> torch.Tensor:
    """Mean entropy in nats of distributions over the last dimension; 0 or log P throughout tells a collapse."""
    return -torch.special.xlogy(distribution, distribution).sum(dim=-1).mean()


def teacher_momentum(start: float, step: int, total: int) -> float:
    """EMA momentum of `step`: from `start` to 1 along a cosine (section 3.1)."""
    return 1 - (1 - start) * (math.cos(math.pi * step / max(total, 1)) + 1) / 2


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student for each of the teacher's parameters, by name."""
    source = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        parameter.lerp_(source[name], 1 - momentum)


def random_masks(batch: int, patches: int, ratio: float, generator: torch.Generator) -> torch.Tensor:
    """Boolean [B, N] with round(ratio * N) patches (at least one) of each image masked at random."""
    count = max(1, round(ratio * patches))
    order = torch.rand(batch, patches, generator=generator).argsort(dim=1)
    return order < count
