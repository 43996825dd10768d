"""How many clusters a set of rows has, by the average silhouette."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sklearn.metrics import silhouette_score

from tasks import progress
from tasks.clustering.kmeans import fit_kmeans

Count = Annotated[int, Field(ge=1)]


class ClusterNumber(BaseModel):
    """Candidates `least`..`most`; `runs` k-means of `n_init` starts for each; at most `max_rows` rows are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    least: Annotated[int, Field(ge=2)] = 2
    most: Annotated[int, Field(ge=2)] = 30
    runs: Count = 3
    n_init: Count = 10
    max_rows: Annotated[int, Field(ge=3)] = 2000


def estimate_cluster_number(
    x_ND: np.ndarray, settings: ClusterNumber, *, n_iter: int, seed: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """The k of largest mean silhouette (Rousseeuw 1987), all k tried int64 [m], and their mean silhouette [m].

    k that cannot be scored, above rows - 1 or above the distinct rows, are left out; a tie goes to the smaller k.

    Raises ValueError: `least` above `most`, or no k in the range can be scored.
    """
    if settings.least > settings.most:
        raise ValueError(f"estimate_k: least = {settings.least} is above most = {settings.most}")
    draw_stream, *streams = np.random.SeedSequence(seed).spawn(1 + settings.runs)
    if len(x_ND) > settings.max_rows:
        chosen = np.random.default_rng(draw_stream).choice(len(x_ND), settings.max_rows, replace=False)
        x_ND = x_ND[np.sort(chosen)]
    distinct = len(np.unique(x_ND.astype(np.float32), axis=0))
    tried = np.arange(settings.least, min(settings.most, len(x_ND) - 1, distinct) + 1)
    if len(tried) == 0:
        raise ValueError(
            f"estimate_k: a silhouette needs 2 <= k <= rows - 1; {len(x_ND)} rows ({distinct} distinct) allow none of "
            f"{settings.least}..{settings.most}; lower least or give k"
        )
    seeds = [int(s.generate_state(1)[0]) for s in streams]
    means = []
    for done, k in enumerate(tried, 1):
        runs = [fit_kmeans(x_ND, int(k), n_init=settings.n_init, n_iter=n_iter, seed=s).labels for s in seeds]
        means.append(float(np.mean([silhouette_score(x_ND, labels) for labels in runs])))
        progress.report(done, len(tried), silhouette=max(means))
    return int(tried[int(np.argmax(means))]), tried, np.array(means)
