"""A few of the labels that the setting grants."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset, PseudoLabels, Representation


def labelled_subset(
    dataset: Dataset, representation: Representation, *, per_class: Annotated[int, Field(ge=1)] | None = None, seed: int
) -> PseudoLabels:
    """Labels of `per_class` units of each class, drawn among those of split train; all of them by default.

    Returns table `units` (unit, sample, pseudo_label; -1: none), `weight` float32 [U] (1 where labelled) and `rank` int64
    [U]: the place of a unit in its class's draw (-1: none), so that the first m of each class are a draw of m; meta
    `n_clusters`: classes.

    Raises ValueError: no label granted in train, a class without label, fewer than `per_class` of one.
    """
    units = representation.tables["units"][["unit", "sample"]]
    sample = units["sample"].to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    granted = dataset.samples.get("given_label")
    if granted is None or granted.isna().all():
        raise ValueError("dataset: no label is granted; say 'grant: train' for the data set")
    given = granted.fillna(-1).to_numpy(dtype=np.int64)[sample]
    given[~np.isin(sample, dataset.rows("train"))] = -1
    names = dataset.meta.get("class_names")
    classes = len(names) if names is not None else int(given.max()) + 1
    rng = np.random.default_rng(seed)
    rank = np.full(len(units), -1, dtype=np.int64)
    for k in range(classes):
        own = rng.permutation(np.flatnonzero(given == k))
        if len(own) < (per_class or 1):
            raise ValueError(
                f"per_class: class {k} has {len(own)} labelled units in train, {per_class or 1} are needed"
            )
        own = own[:per_class]
        rank[own] = np.arange(len(own))
    label = np.where(rank >= 0, given, -1)
    table = pd.DataFrame({"unit": units["unit"], "pseudo_label": label, "sample": sample})
    arrays = {"weight": (rank >= 0).astype(np.float32), "rank": rank}
    return PseudoLabels({"units": table}, arrays, meta={"n_clusters": classes})
