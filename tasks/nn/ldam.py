"""Linear classifiers for unequal classes, trained on frozen features.

LDAM: Cao et al., NeurIPS 2019, arXiv 1906.07413. Class-balanced weights: Cui et al., CVPR 2019, arXiv 1901.05555.

Shape legend: B batch, D dimensions, C classes.
"""

import math

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

SCALE = 30.0
MAX_MARGIN = 0.5
BETA = 0.9999


def ldam_margins(size_C: np.ndarray) -> np.ndarray:
    """Margin of each class: n_c^(-1/4), scaled so that the largest is 0.5 (Cao et al., eq. 13)."""
    margin_C = np.asarray(size_C, dtype=np.float64) ** -0.25
    return MAX_MARGIN * margin_C / margin_C.max()


def class_balanced_weights(size_C: np.ndarray, beta: float = BETA) -> np.ndarray:
    """Inverse effective number of samples, (1 - beta) / (1 - beta^n_c), scaled to mean 1 (Cui et al., section 4)."""
    weight_C = (1 - beta) / -np.expm1(np.asarray(size_C, dtype=np.float64) * math.log(beta))
    return weight_C / weight_C.mean()


def ldam_loss(
    cosine_BC: torch.Tensor, label_B: torch.Tensor, margin_C: torch.Tensor, weight_C: torch.Tensor
) -> torch.Tensor:
    """Weighted cross-entropy of 30 * (cosine - margin of the true class); the weights' sum in the batch divides."""
    lowered_BC = cosine_BC.clone()
    rows = torch.arange(len(label_B), device=label_B.device)
    lowered_BC[rows, label_B] -= margin_C[label_B]
    return cross_entropy(SCALE * lowered_BC, label_B, weight=weight_C)


def cosines(feature_BD: torch.Tensor, weight_CD: torch.Tensor) -> torch.Tensor:
    """Cosine of each feature with each class weight [B, C]."""
    return normalize(feature_BD, dim=1) @ normalize(weight_CD, dim=1).T


def ldam_learning_rate(lr: float, epoch: int, epochs: int) -> float:
    """Linear over the first 5 epochs, a tenth after 70 % of all and a hundredth after 90 % (140 and 180 of 200)."""
    if epoch < 5:
        return lr * (epoch + 1) / 5
    return lr * (0.01 if epoch >= 0.9 * epochs else 0.1 if epoch >= 0.7 * epochs else 1.0)


def fit_ldam(
    x_ND: np.ndarray, label_N: np.ndarray, *, epochs: int, lr: float = 0.1, batch_size: int = 128, seed: int
) -> np.ndarray:
    """Class weights float32 [C, D] of a cosine classifier without bias, trained with LDAM and class-balanced weights.

    SGD with momentum 0.9 and `ldam_learning_rate`; the class weights hold from the first epoch on. Labels are
    0..C-1 with no class absent.
    """
    size_C = np.bincount(label_N)
    margin_C = torch.from_numpy(ldam_margins(size_C).astype(np.float32))
    weight_C = torch.from_numpy(class_balanced_weights(size_C).astype(np.float32))
    x = torch.from_numpy(np.array(x_ND, dtype=np.float32))
    label = torch.from_numpy(np.array(label_N, dtype=np.int64))
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(x.shape[1])
    weight_CD = ((2 * torch.rand(len(size_C), x.shape[1], generator=generator) - 1) * bound).requires_grad_()
    optimizer = torch.optim.SGD([weight_CD], lr=lr, momentum=0.9)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = ldam_learning_rate(lr, epoch, epochs)
        for batch in torch.randperm(len(x), generator=generator).split(batch_size):
            loss = ldam_loss(cosines(x[batch], weight_CD), label[batch], margin_C, weight_C)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weight_CD.detach().numpy()
