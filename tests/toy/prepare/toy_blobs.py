"""Two Gaussian blobs in the plane, as one-pixel images."""

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset


def toy_blobs(*, n: int = 20, gap: float = 4.0, path: str | None = None, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    points = rng.normal(size=(n, 2)) + gap * label[:, None]
    split = np.where(np.arange(n) < n // 2, "train", "test")
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            "split": pd.Series(split, dtype="str"),
            "label": pd.array(label, dtype="Int64"),
            "given_label": pd.array(np.where(np.arange(n) < 4, label, -1), dtype="Int64"),
        }
    )
    samples.loc[4:, "given_label"] = pd.NA
    return Dataset(
        {"samples": samples},
        {"points": points.astype(np.float32), "secret": label.astype(np.int64)},
        meta={"truth": ["secret"], "class_names": ["left", "right"]},
    )
