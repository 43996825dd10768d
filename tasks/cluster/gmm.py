"""Gaussian mixture by EM: the usual way to cluster groups of unequal shape.

Shape legend: n points, p dimensions, K groups, S starts.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.gaussian_mixture import fit_mixture
from tasks.clustering.mixture_result import as_clusters, points_to_cluster
from tasks.clustering.starts import Init, check_points, start_labels
from tasks.progress import report

Count = Annotated[int, Field(ge=1)]


def gmm(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Annotated[int, Field(ge=2)],
    init: Init = "random",
    n_init: Count = 3,
    n_iter: Count = 200,
    tol: Annotated[float, Field(gt=0)] = 1e-6,
    ridge: Annotated[float, Field(gt=0)] = 0.01,
    subsample: Annotated[int, Field(ge=2)] | None = None,
    seed: int,
) -> Clusters:
    """EM with full covariances (Dempster, Laird & Rubin, JRSS B 39, 1977) from the same starts as `la_sdp`.

    Parameters
    ----------
    k: groups. init, n_init: starts, equal to those of `la_sdp` with the same seed; the largest likelihood is kept.
    n_iter: most iterations. tol: least gain of the mean log-likelihood. ridge: share of the mean variance of each group
        added to the diagonal of its covariance. subsample: fit on so many random train points only.

    Returns what `la_sdp` returns, without blocks; `membership` are the responsibilities, curve `objective` is the mean
    log-likelihood, `start_score` -2 log-likelihood. Raises ValueError as `la_sdp`.
    """
    points = points_to_cluster(dataset, representation, subsample, seed)
    x_np = np.array(representation.arrays["embedding"][points], dtype=np.float64)
    check_points(x_np, k)
    x_np -= x_np.mean(axis=0)
    fits = []
    starts_Sn = start_labels(x_np, k, init, n_init, seed)
    for s, start_n in enumerate(starts_Sn):
        fits.append(fit_mixture(x_np, start_n, k, ridge=ridge, n_iter=n_iter, tol=tol))
        report(s + 1, len(starts_Sn), log_likelihood=fits[-1].log_likelihoods[-1])
    score_S = np.array([-2 * len(x_np) * fit.log_likelihoods[-1] for fit in fits])
    best = fits[int(score_S.argmin())]
    labels_Sn = np.stack([fit.responsibility_nK.argmax(axis=1) for fit in fits])
    return as_clusters(
        representation,
        points,
        best.responsibility_nK.argmax(axis=1),
        best.responsibility_nK,
        np.stack(best.means),
        np.stack(best.covariances),
        start_labels=labels_Sn,
        start_score=score_S,
        objectives=best.log_likelihoods,
        arrays={},
        meta={"solver_steps": sum(len(fit.means) for fit in fits), "not_converged": len(best.means) == n_iter},
    )
