"""Balanced assignment of all units to learned prototypes.

Shape legend: n units, K prototypes, P projection.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Clusters, Representation
from tasks.nn.sinkhorn import sinkhorn


def sinkhorn_knopp(
    representation: Representation,
    *,
    epsilon: Annotated[float, Field(gt=0)] = 0.05,
    n_iter: Annotated[int, Field(ge=0)] = 3,
) -> Clusters:
    """The codes of SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882, eq. 3-5), balanced over the whole data set.

    epsilon: temperature of the codes. n_iter: scalings; 0 assigns each unit by softmax alone.

    Reads unit vectors `projection` [n, P] and `prototypes` [K, P]. Returns table `units` (unit, cluster = prototype of
    the largest code, sample), `membership` float32 [n, K] with rows that sum to 1, `prototypes`; meta `n_clusters`.

    Raises ValueError: no projections or prototypes, fewer than two of either, scores that are not finite.
    """
    for name in ("projection", "prototypes"):
        if name not in representation.arrays:
            raise ValueError(f"representation: array '{name}' is needed and absent; pretrain with step 'swav'")
    projection_nP, prototypes_KP = (
        torch.from_numpy(np.array(representation.arrays[name])) for name in ("projection", "prototypes")
    )
    membership_nK = sinkhorn(projection_nP @ prototypes_KP.T, epsilon, n_iter).numpy()
    units = representation.tables["units"][["unit", "sample"]].assign(cluster=membership_nK.argmax(axis=1))
    return Clusters(
        {"units": units},
        {"membership": membership_nK, "prototypes": prototypes_KP.numpy()},
        meta={"n_clusters": len(prototypes_KP)},
    )
