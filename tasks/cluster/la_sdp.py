"""Likelihood-adjusted semidefinite program: clusters of unequal shape, without centroids.

Shape legend: n points, p dimensions, K groups, R rounds, S starts.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.clustering.la_sdp import (
    block_memberships,
    label_covariances,
    label_deviance,
    likelihood_costs,
    membership_covariances,
    solve_sdp,
)
from tasks.clustering.mixture_result import as_clusters, points_to_cluster
from tasks.clustering.starts import Init, check_points, start_labels
from tasks.progress import report

Count = Annotated[int, Field(ge=1)]

# Blocks that could be exchanged: every membership is 1/K, and the labels would be noise.
LEAST_MARGIN = 1e-3


class Admm(BaseModel):
    """Solver: most `steps`, relative residuals `tol` at which it stops, first step size `rho`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: Count = 600
    tol: Annotated[float, Field(gt=0)] = 1e-3
    rho: Annotated[float, Field(gt=0)] = 1.0


DEFAULT_ADMM = Admm()


@dataclass
class Fit:
    """One start followed to its end; the first and the last blocks, and what changed from round to round."""

    label_n: np.ndarray
    membership_nK: np.ndarray
    first_Knn: np.ndarray
    last_Knn: np.ndarray
    covariances: list[np.ndarray] = field(default_factory=list)
    means: list[np.ndarray] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    steps: int = 0
    primal: float = 0.0
    dual: float = 0.0
    stopped_early: bool = False


def la_sdp(
    dataset: Dataset,
    representation: Representation,
    *,
    k: Annotated[int, Field(ge=2)],
    init: Init = "random",
    n_init: Count = 3,
    rounds: Count = 10,
    ridge: Annotated[float, Field(gt=0)] = 0.01,
    covariance_update: Literal["membership", "labels"] = "membership",
    admm: Admm = DEFAULT_ADMM,
    subsample: Annotated[int, Field(ge=2)] | None = None,
    max_points: Count = 400,
    seed: int,
) -> Clusters:
    """iLA-SDP (Zhuang, Chen & Yang, ICML 2023, arXiv 2209.15097), its derivation worked out from the abstract.

    The labels are parameters of the Gaussian likelihood. With Z_k = 1_{G_k} 1_{G_k}' / n_k and the means profiled out,
    -2 log L = sum_k <C_k, Z_k>, C_k = log det(Sigma_k) 11' + D_k / 2 with D_k the squared Mahalanobis distances. One
    round solves the relaxation (Z_k PSD and non-negative, tr Z_k = 1, sum_k Z_k 1 = 1), takes the row sums of Z_k for
    soft memberships, and updates Sigma_k. Rounds end when no label changes. There is no mixing-weight term.

    Parameters
    ----------
    k: groups. init: labels to start from, never equal covariances. n_init: starts of `random` and `kmeans`; the one whose
        labels have the largest classification likelihood is kept.
    rounds: most rounds. ridge: share of the mean variance of each group added to the diagonal of its covariance (ours).
    covariance_update: "membership": Sigma_k from Z_k without centroids; "labels": from the rounded labels.
        The paper's own choice is not known here.
    admm: the solver. subsample: cluster so many random train points only; the others get no cluster, a later step
        classifies them. max_points: refuse more points, since time grows as n^3 and memory as n^2.

    Clusters the train points in float64. Table `units` (unit, cluster, sample; -1: not clustered); arrays `points` int64 [n]
    (units clustered), `membership` float32 [n, K], `covariances` and `means` [K, p(, p)], `covariance_rounds`, `mean_rounds`
    [R, K, ...], `blocks_first`, `blocks_last` float32 [K, n, n], `start_labels` int64 [S, n], `start_score` [S] (-2 log L);
    curve `objective` by round; meta `solver_steps`, `primal_residual`, `dual_residual`, `not_converged`.

    Raises ValueError: `k` below 2 or above n, NaN or infinity, all points equal, n above `max_points`, blocks that
    came out equal.
    """
    points = points_to_cluster(dataset, representation, subsample, seed)
    x_np = np.array(representation.arrays["embedding"][points], dtype=np.float64)
    check_points(x_np, k, max_points)
    x_np -= x_np.mean(axis=0)
    starts_Sn = start_labels(x_np, k, init, n_init, seed)
    fits = []
    for s, start_n in enumerate(starts_Sn):
        fits.append(_follow(x_np, start_n, k, rounds, ridge, covariance_update, admm, (s, len(starts_Sn))))
    score_S = np.array([label_deviance(x_np, fit.label_n, k, ridge) for fit in fits])
    best = fits[int(score_S.argmin())]
    return as_clusters(
        representation,
        points,
        best.label_n,
        best.membership_nK,
        np.stack(best.means),
        np.stack(best.covariances),
        start_labels=np.stack([fit.label_n for fit in fits]),
        start_score=score_S,
        objectives=best.objectives,
        arrays={"blocks_first": best.first_Knn, "blocks_last": best.last_Knn},
        meta={
            "solver_steps": sum(fit.steps for fit in fits),
            "primal_residual": best.primal,
            "dual_residual": best.dual,
            "not_converged": best.stopped_early and best.primal > 1e-2,
        },
    )


def _follow(
    x_np: np.ndarray,
    start_n: np.ndarray,
    k: int,
    rounds: int,
    ridge: float,
    update: str,
    admm: Admm,
    place: tuple[int, int],
) -> Fit:
    """Alternate program and covariances from one start."""
    covariance_Kpp = label_covariances(x_np, start_n, k, ridge)
    label_n, state, fit = start_n, None, None
    for step in range(rounds):
        solution = solve_sdp(
            likelihood_costs(x_np, covariance_Kpp), 1.0, steps=admm.steps, tol=admm.tol, rho=admm.rho, state=state
        )
        state, z_Knn = solution.state, solution.x_Bnn
        membership_nK = block_memberships(z_Knn)
        if (membership_nK.max(axis=1) - 1 / k < LEAST_MARGIN).all():
            raise ValueError(
                f"init: the groups came out equal (every membership is 1/{k}): their covariances were; "
                "use init 'kmeans' or 'kmeans_sdp'"
            )
        before_n, label_n = label_n, membership_nK.argmax(axis=1)
        if fit is None:
            fit = Fit(label_n, membership_nK, z_Knn, z_Knn)
        if update == "membership":
            covariance_Kpp = membership_covariances(x_np, z_Knn, ridge)
        else:
            covariance_Kpp = label_covariances(x_np, label_n, k, ridge)
        fit.label_n, fit.membership_nK, fit.last_Knn = label_n, membership_nK, z_Knn
        fit.covariances.append(covariance_Kpp)
        fit.means.append(membership_nK.T @ x_np / np.maximum(membership_nK.sum(axis=0), 1e-12)[:, None])
        fit.objectives.append(solution.objective)
        fit.steps += solution.steps
        fit.primal, fit.dual, fit.stopped_early = solution.primal, solution.dual, solution.steps == admm.steps
        report(place[0] * rounds + step + 1, place[1] * rounds, objective=solution.objective)
        if np.array_equal(before_n, label_n):
            break
    assert fit is not None
    return fit
