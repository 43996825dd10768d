"""Clusters with enough cases already known to be bad.

Shape legend: N units, C clusters.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels


def risky_clusters(
    dataset: Dataset,
    clusters: Clusters,
    *,
    min_known: Annotated[int, Field(ge=1)] = 3,
    min_share: Annotated[float, Field(gt=0, le=1)] = 0.15,
) -> PseudoLabels:
    """Flag every member of a risky cluster (FinDeepBehaviorCluster, Min et al., 2021, arXiv 2101.04285).

    A cluster is risky if at least `min_known` of its members, and a share of at least `min_share`, are known to be bad:
    their `given_label` is 1. Noise is never flagged: isolated fraud stays out of reach by design. The digest of the paper at hand
    gives no thresholds; the defaults are chosen here.

    Parameters
    ----------
    min_known: least number of known bad members.
    min_share: least share of known bad members.

    Returns table `units` (unit, pseudo_label: 1 flagged, 0 not, sample, given_label), table `clusters` (cluster, size, known,
    share, risky); meta `flagged`, `n_risky`, `min_known`. No risky cluster is no error: nothing is flagged.

    Raises ValueError: a data set without `given_label`, a given label other than 1 (0 is granted as known good).
    """
    units = clusters.tables["units"]
    if "given_label" not in dataset.samples:
        raise ValueError("dataset: column 'given_label' is needed and absent; it names the known bad cases (1)")
    given = dataset.samples["given_label"].iloc[units["sample"].to_numpy()].reset_index(drop=True)
    known_N = given.fillna(0).to_numpy(dtype=np.int64)
    if not np.isin(known_N, [0, 1]).all():
        raise ValueError(f"dataset: given_label {known_N.max()} is neither 1 (known bad) nor 0 (known good)")
    cluster_N = units["cluster"].to_numpy(dtype=np.int64)
    member = cluster_N >= 0
    count = int(cluster_N.max(initial=-1)) + 1
    size_C = np.bincount(cluster_N[member], minlength=count)
    known_C = np.bincount(cluster_N[member & (known_N == 1)], minlength=count)
    share_C = known_C / np.maximum(size_C, 1)
    risky_C = (known_C >= min_known) & (share_C >= min_share)
    flagged_N = np.zeros(len(units), dtype=bool)
    flagged_N[member] = risky_C[cluster_N[member]]
    return PseudoLabels(
        {
            "units": units[["unit"]].assign(
                pseudo_label=flagged_N.astype(np.int64), sample=units["sample"], given_label=given.astype("Int64")
            ),
            "clusters": pd.DataFrame(
                {"cluster": np.arange(count), "size": size_C, "known": known_C, "share": share_C, "risky": risky_C}
            ),
        },
        meta={"flagged": int(flagged_N.sum()), "n_risky": int(risky_C.sum()), "min_known": min_known},
    )
