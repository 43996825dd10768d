"""Gaussian groups of equal size and unequal shape."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset

Count = Annotated[int, Field(ge=1)]
Variance = Annotated[float, Field(gt=0)]


def heterogeneous_gaussians(
    *,
    n: Annotated[int, Field(ge=2)] = 75,
    n_test: Annotated[int, Field(ge=0)] = 600,
    k: Annotated[int, Field(ge=2)] = 3,
    p: Annotated[int, Field(ge=2)] = 6,
    separation: Annotated[float, Field(ge=0)] = 4.0,
    large: Variance = 4.0,
    small: Variance = 0.3,
    large_axes: Count = 3,
    replicates: Count = 10,
    seed: int = 0,
) -> Dataset:
    """Mixtures of k Gaussians that differ in shape, in the spirit of the experiments of Zhuang, Chen & Yang (ICML 2023,
    arXiv 2209.15097); the sizes are chosen here.

    Group g has mean `separation` times the unit vector e_g and covariance Q diag(v) Q', where v is `small` but `large` on
    `large_axes` axes, which start at axis g * large_axes // 2, and Q is a random rotation of its own.

    Parameters
    ----------
    n: points to cluster, split `train`, n // k or one more of each group. n_test: points of the same mixture, split `test`.
    k: groups. p: dimensions, at least k.
    separation: distance of each mean from the origin. large, small: variances along the axes.
    large_axes: axes with variance `large`, below p.
    replicates: independent mixtures, each with n + n_test points; a seed r is judged on replicate r mod `replicates`.
    seed: seed of everything.

    Returns `features` float32 [replicates * (n + n_test), p], `replicate` int64, truth `label`.

    Raises ValueError: k above p or above n; `large_axes` not below p.
    """
    if k > min(n, p):
        raise ValueError(f"k = {k} must be at most n = {n} and p = {p}; lower k")
    if large_axes >= p:
        raise ValueError(f"large_axes = {large_axes} must be below p = {p}, or all groups have one shape")
    features, labels, splits = [], [], []
    for stream in np.random.SeedSequence(seed).spawn(replicates):
        rng = np.random.default_rng(stream)
        scale_kpp = []
        for group in range(k):
            variance = np.full(p, small)
            variance[(group * large_axes // 2 + np.arange(large_axes)) % p] = large
            q, r = np.linalg.qr(rng.normal(size=(p, p)))
            scale_kpp.append(q * np.sign(np.diag(r)) * np.sqrt(variance))
        for split, count in (("train", n), ("test", n_test)):
            label = rng.permutation(np.arange(count) % k)
            noise = np.einsum("npq,nq->np", np.array(scale_kpp)[label], rng.normal(size=(count, p)))
            features.append(separation * np.eye(p)[label] + noise)
            labels.append(label)
            splits += [split] * count
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(splits), dtype=np.int64),
            "split": pd.Series(splits, dtype="str"),
            "label": pd.Series(np.concatenate(labels)).astype("Int64"),
        }
    )
    return Dataset(
        {"samples": samples},
        {
            "features": np.concatenate(features).astype(np.float32),
            "replicate": np.repeat(np.arange(replicates, dtype=np.int64), n + n_test),
        },
        meta={"class_names": [f"group {g}" for g in range(k)], "truth": []},
    )
