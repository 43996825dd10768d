"""k-means relaxed to a semidefinite program."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.cluster.la_sdp import DEFAULT_ADMM, Admm
from tasks.clustering.mixture_result import points_to_cluster
from tasks.clustering.starts import check_points, sdp_labels


def kmeans_sdp(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Annotated[int, Field(ge=2)],
    admm: Admm = DEFAULT_ADMM,
    subsample: Annotated[int, Field(ge=2)] | None = None,
    max_points: Annotated[int, Field(ge=2)] = 400,
    seed: int,
) -> Clusters:
    """k-means semidefinite program (Peng & Wei, SIAM J. Optim. 18, 2007): min <D, Z> / 2, Z PSD and non-negative, tr Z = k,
    Z1 = 1; rounded by k-means on the k leading eigenvectors.

    k: groups. admm: the solver. subsample: cluster so many random train points. max_points: refuse more.

    Returns table `units` (unit, cluster, sample; -1: not clustered), `points` int64 [n], `blocks_last` float32 [1, n, n];
    meta as `la_sdp`. Raises ValueError as `la_sdp`.
    """
    points = points_to_cluster(dataset, representation, subsample, seed)
    x_np = np.array(representation.arrays["embedding"][points], dtype=np.float64)
    check_points(x_np, k, max_points)
    labels_n, solution = sdp_labels(x_np, k, steps=admm.steps, tol=admm.tol, rho=admm.rho, seed=seed)
    units = representation.tables["units"]
    cluster = np.full(len(units), -1, dtype=np.int64)
    cluster[points] = labels_n
    return Clusters(
        {"units": pd.DataFrame({"unit": units["unit"], "cluster": cluster, "sample": units["sample"]})},
        {"points": points.astype(np.int64), "blocks_last": solution.x_Bnn.astype(np.float32)},
        meta={
            "n_clusters": k,
            "solver_steps": solution.steps,
            "primal_residual": solution.primal,
            "dual_residual": solution.dual,
            "not_converged": solution.steps == admm.steps and solution.primal > 1e-2,
        },
    )
