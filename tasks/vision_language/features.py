"""Features and class vectors of a representation, whose products are the class logits of CLIP.

Shape legend: U units, K classes, P projection.
"""

from __future__ import annotations

import numpy as np
import torch

from tasks.artifacts import Dataset, Representation


def features_and_classes(representation: Representation) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of images [U, P], and class vectors [K, P] as long as the encoder's logit scale.

    Both are float64, for comparisons that must not depend on rounding.

    Raises ValueError: no text embeddings, fewer than two classes, values that are not finite, a zero vector.
    """
    if "text" not in representation.arrays:
        raise ValueError("representation: has no class embeddings 'text'; use the pretrain step clip")
    feature_UP, text_KP = (_unit(name, np.array(representation.arrays[name])) for name in ("embedding", "text"))
    if len(text_KP) < 2:
        raise ValueError(f"representation: {len(text_KP)} class; at least two are needed")
    return feature_UP, representation.meta["logit_scale"] * text_KP


def unlabeled_units(dataset: Dataset, representation: Representation) -> np.ndarray:
    """Units int64 whose samples are in split train. Raises ValueError: fewer of them than classes."""
    sample = representation.tables["units"]["sample"].to_numpy()
    units = np.flatnonzero(np.isin(sample, dataset.rows("train")))
    classes = len(representation.arrays["text"])
    if len(units) < classes:
        raise ValueError(f"dataset: {len(units)} unlabeled images for {classes} classes; at least one each is needed")
    return units


def _unit(name: str, x: np.ndarray) -> torch.Tensor:
    norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    bad = ~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0)
    if bad.any():
        raise ValueError(
            f"representation: {int(bad.sum())} rows of '{name}' are zero or not finite, first {bad.argmax()}"
        )
    return torch.from_numpy(x.astype(np.float64) / norms)
