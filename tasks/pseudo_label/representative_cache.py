"""Pseudo-labels from a cache of confident, representative images."""

import math
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.vision_language.cache import cache_logits, representatives
from tasks.vision_language.features import features_and_classes, unlabeled_units

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class CacheSize(BaseModel):
    """Images per class: `fraction` of the unlabeled images of a class of average size, within `min` and `max`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    fraction: Share = 0.3
    min: Count = 9
    max: Count = 16


def representative_cache(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    *,
    cache: CacheSize = CacheSize(),  # noqa: B008  (frozen)
    train_fraction: Share = 0.75,
    train_min: Count = 9,
    alpha: Annotated[float, Field(ge=0)] = 0.3,
    beta: Annotated[float, Field(ge=0)] = 1.0,
    prototype_filter: bool = True,
    semantic_similarity: bool = True,
) -> PseudoLabels:
    """Training-free unsupervised prompts (TFUP; Long et al., arXiv 2404.16339).

    For each class those images of split train are cached that the soft groups give to it with most confidence and that
    agree with each other. A cached image votes for the class it was chosen for, not for its own most probable one, and may
    stand for several classes; every class has as many. Zero-shot logits plus the votes label all images.

    Parameters
    ----------
    cache: {fraction, min, max}: number of cached images per class.
    train_fraction, train_min: the same for the images on which adapters may be trained afterwards, without a maximum.
    alpha: weight of the votes; 0 is zero-shot classification. beta: sharpness of a vote.
    prototype_filter: choose among twice as many confident images those that agree; else the most confident.
    semantic_similarity: weigh a vote by how alike the class probabilities of image and cached image are.

    Returns table `units` (unit, sample, pseudo_label), `logits` float32 [U, K], `cache_units` int64 [K, m], `train_units`
    int64 [T] with `train_labels` int64 [T] (their pseudo-labels); meta: `n_clusters`, `alpha`, `beta`,
    `semantic_similarity`, `cache_size`, `cache_size_wanted` (more than there are images, if these differ).

    Raises ValueError: fewer than two classes, fewer images than classes, `cache` upside down, no soft groups.
    """
    if cache.min > cache.max:
        raise ValueError(f"cache: min {cache.min} is above max {cache.max}")
    if "membership" not in clusters.arrays:
        raise ValueError("clusters: no soft groups ('membership'); use the cluster step zero_shot_assignment")
    feature_UP, text_KP = features_and_classes(representation)
    pool = unlabeled_units(dataset, representation)
    per_class = len(pool) / len(text_KP)
    m = min(cache.max, max(cache.min, math.floor(cache.fraction * per_class)))
    m_train = max(train_min, math.floor(train_fraction * per_class))
    membership_NK = torch.from_numpy(np.array(clusters.arrays["membership"], dtype=np.float64)[pool])
    cached_KM = pool[representatives(membership_NK, m, prototype_filter).numpy()]
    label_M = torch.arange(len(text_KP)).repeat_interleave(cached_KM.shape[1])
    keys_MP = feature_UP[torch.from_numpy(cached_KM.ravel())]
    logits_UK = cache_logits(
        feature_UP, keys_MP, label_M, text_KP, alpha=alpha, beta=beta, semantic=semantic_similarity
    ).numpy()
    label_U = logits_UK.argmax(axis=1).astype(np.int64)
    train = pool[representatives(membership_NK, m_train, prototype_filter).numpy()].ravel()
    units = representation.tables["units"][["unit", "sample"]]
    table = pd.DataFrame({"unit": units["unit"], "pseudo_label": label_U, "sample": units["sample"]})
    arrays = {"logits": logits_UK.astype(np.float32), "cache_units": cached_KM, "train_units": train}
    arrays["train_labels"] = label_U[train]
    meta = {"n_clusters": len(text_KP), "alpha": alpha, "beta": beta, "semantic_similarity": semantic_similarity}
    meta |= {"cache_size": int(cached_KM.shape[1]), "cache_size_wanted": m}
    return PseudoLabels({"units": table}, arrays, meta=meta)
