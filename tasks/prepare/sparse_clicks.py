"""Click logs with columns that matter and columns of noise, from few to thousands of values."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset

Count = Annotated[int, Field(ge=1)]
Cardinalities = list[Annotated[int, Field(ge=2)]]

ZIPF_VALUES = 5000


def sparse_clicks(
    *,
    n: Annotated[int, Field(ge=8)] = 8000,
    informative: Cardinalities = [2, 3, 5, 8, 12, 20, 30, 50],  # noqa: B006 (a default)
    noise: Cardinalities = [2, 5, 10, 30, 100, 300, 1000, 2000, 4000],  # noqa: B006
    noise_copies: Count = 5,
    zipf_noise: Annotated[int, Field(ge=0)] = 5,
    strength: Annotated[float, Field(gt=0)] = 0.5,
    offset: float = -1.0,
    synergy: bool = False,
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25,
    replicates: Count = 5,
    seed: int = 0,
) -> Dataset:
    """Columns of categories and clicks that depend on some of them, in the spirit of the synthetic data of OutRank
    (Skrlj & Mramor, RecSys 2023, arXiv 2309.01552); the form is chosen here.

    Every value of an informative column has an effect w ~ N(0, 1), standardised within its column; logit = `offset` +
    `strength` * sum of effects; click ~ Bernoulli. The columns come in random order, so no rule for ties helps.

    Parameters
    ----------
    n: rows of one replicate. informative, noise: number of values of each column, drawn uniformly; each noise
        cardinality gives `noise_copies` columns. zipf_noise: noise columns with Zipf(1.5) values modulo 5000.
    strength: of one column's effect in the logit. offset: of the logit.
    synergy: two more informative columns of two values that matter only together (exclusive or, effect 2 `strength`), and a
        copy of the first informative column, which is declared redundant.
    test: share of the rows that is split `test`.
    replicates: independent tables with the same columns; seed r is judged on replicate r mod `replicates`.
    seed: seed of everything.

    Returns `codes` int32 [replicates * n, p] (meta `code_names`), `replicate` int64; `given_label` on train; truth: `label`
    and `informative` bool [p].
    """
    order_stream, *streams = np.random.SeedSequence(seed).spawn(replicates + 1)
    names = [f"signal_{c}_{i}" for i, c in enumerate(informative)]
    names += ["xor_a", "xor_b", "copy_of_signal_0"] if synergy else []
    names += [f"noise_{c}_{i}" for c in noise for i in range(noise_copies)]
    names += [f"zipf_{i}" for i in range(zipf_noise)]
    order = np.random.default_rng(order_stream).permutation(len(names))
    tables, labels = [], []
    for stream in streams:
        rng = np.random.default_rng(stream)
        columns = [rng.integers(c, size=n) for c in informative]
        logit = np.full(n, offset)
        for column, c in zip(columns, informative, strict=True):
            effect = rng.normal(size=c)
            logit += strength * ((effect - effect.mean()) / effect.std())[column]
        if synergy:
            a, b = rng.integers(2, size=(2, n))
            logit += 2 * strength * (2 * (a ^ b) - 1)
            columns += [a, b, columns[0].copy()]
        columns += [rng.integers(c, size=n) for c in noise for _ in range(noise_copies)]
        columns += [rng.zipf(1.5, size=n) % ZIPF_VALUES for _ in range(zipf_noise)]
        labels.append(rng.random(n) < 1 / (1 + np.exp(-logit)))
        tables.append(np.stack(columns, axis=1)[:, order].astype(np.int32))
    n_train = n - max(1, round(test * n))
    is_train = np.tile(np.arange(n) < n_train, replicates)
    label = pd.Series(np.concatenate(labels).astype(np.int64)).astype("Int64")
    samples = pd.DataFrame(
        {
            "sample": np.arange(len(label), dtype=np.int64),
            "split": pd.Series(np.where(is_train, "train", "test"), dtype="str"),
            "label": label,
            "given_label": label.where(is_train),
        }
    )
    true = np.array([name.startswith(("signal", "xor")) for name in names])
    return Dataset(
        {"samples": samples},
        {
            "codes": np.concatenate(tables),
            "replicate": np.repeat(np.arange(replicates, dtype=np.int64), n),
            "informative": true[order],
        },
        meta={
            "code_names": [names[i] for i in order], "class_names": ["no click", "click"], "truth": ["informative"],
        },
    )  # fmt: skip
