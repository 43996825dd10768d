"""How well Gaussian groups were found, on the points clustered and on others of the same mixture.

Shape legend: n points clustered, S starts.
"""

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, Metrics, Model, Representation
from tasks.clustering.mixture_figures import block_figure, ellipse_figure
from tasks.curves import curve_table
from tasks.figures import png
from tasks.metrics.clustering import clustering_accuracy

METRICS = {
    "clustering_error": "share of the clustered points outside the group of their cluster, best one-to-one map (0..1, lower is better)",
    "adjusted_rand_index": "agreement of clusters and groups, corrected for chance (at most 1, higher is better)",
    "normalized_mutual_information": "agreement of clusters and groups (0..1, higher is better)",
    "heldout_error": "the same error of the model on split test (0..1, lower is better)",
    "single_start_error": "mean clustering error over single starts, without picking one (0..1, lower is better)",
    "solver_steps": "solver or EM iterations of all starts together",
    "primal_residual": "relative primal residual of the last program solved",
    "dual_residual": "relative dual residual of the last program solved",
    "not_converged": "1 if the solver stopped at its step limit with a primal residual above 0.01 (EM: at its limit), else 0",
}


def mixture_clustering(
    dataset: Dataset, representation: Representation, clusters: Clusters, model: Model, *, figures: bool = True
) -> Metrics:
    """Errors under the best one-to-one map of clusters to groups (Hungarian method), ARI and NMI.

    Judged are the clustered train units, and the model's `predictions` on split test if there is one. Metrics that
    the clusters cannot support (no starts, no solver) are left out.

    Curve `error_by_starts`: error of the labels with the best score among the first x starts. Figures: `blocks` (Z of
    the first and the last round by true group), `ellipses` (groups round by round on two principal axes).

    Raises ValueError: no clustered train unit, a unit without truth.
    """
    units = clusters.tables["units"]
    cluster, sample = units["cluster"].to_numpy(), units["sample"].to_numpy()
    points = np.flatnonzero((cluster >= 0) & np.isin(sample, dataset.rows("train")))
    if len(points) == 0:
        raise ValueError("clusters: no unit of split 'train' has a cluster; nothing can be judged")
    truth_n, label_n = dataset.labels("label", sample[points]), cluster[points]
    values = {
        "clustering_error": 1 - clustering_accuracy(label_n, truth_n),
        "adjusted_rand_index": float(adjusted_rand_score(truth_n, label_n)),
        "normalized_mutual_information": float(normalized_mutual_info_score(truth_n, label_n)),
    }
    predictions = model.tables["predictions"]
    test = predictions[predictions["sample"].isin(np.flatnonzero(dataset.samples["split"] == "test"))]  # pyright: ignore[reportArgumentType]
    if len(test):
        truth = dataset.labels("label", test["sample"].to_numpy())  # pyright: ignore[reportAttributeAccessIssue]
        values["heldout_error"] = 1 - clustering_accuracy(test["prediction"].to_numpy(), truth)  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("solver_steps", "primal_residual", "dual_residual", "not_converged"):
        if name in clusters.meta:
            values[name] = float(clusters.meta[name])
    tables = {}
    if "start_labels" in clusters.arrays:
        error_S = np.array([1 - clustering_accuracy(start, truth_n) for start in clusters.arrays["start_labels"]])
        score_S = np.asarray(clusters.arrays["start_score"])
        values["single_start_error"] = float(error_S.mean())
        count = range(1, len(error_S) + 1)
        tables["curves"] = curve_table("error_by_starts", count, [error_S[score_S[:m].argmin()] for m in count])
    drawn = {}
    if figures and "blocks_first" in clusters.arrays:
        drawn["blocks"] = png(block_figure(clusters.arrays["blocks_first"], clusters.arrays["blocks_last"], truth_n))
    if figures and "mean_rounds" in clusters.arrays:
        x_np = np.array(representation.arrays["embedding"][points], dtype=np.float64)
        # The groups' means are those of centred points.
        x_np -= x_np.mean(axis=0)
        mean_RKp, covariance_RKpp = (np.array(clusters.arrays[f"{a}_rounds"]) for a in ("mean", "covariance"))
        drawn["ellipses"] = png(ellipse_figure(x_np, label_n, truth_n, mean_RKp, covariance_RKpp))
    return Metrics(tables=tables, meta={"values": values}, figures=drawn)
