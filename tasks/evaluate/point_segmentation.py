"""Semantic segmentation of points by clusters that are matched to classes.

Shape legend: T points, K clusters, C classes.
"""

from typing import Literal

import numpy as np
import pandas as pd

from tasks.artifacts import Dataset, Metrics, Model, PseudoLabels
from tasks.curves import curve_table
from tasks.metrics.mapping import confusion, map_clusters
from tasks.scenes3d.figures import class_figure, room_figure

METRICS = {
    "miou": "mean IoU over the classes present, 0..1, higher is better",
    "macc": "mean over classes of the share of their points that is right, 0..1, higher is better",
    "oacc": "share of labelled points that is right, 0..1, higher is better",
    "miou_pseudo_labels": "miou of the pseudo-labels of the training scenes, matched for themselves, 0..1, higher is better",
}


def point_segmentation(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    matching: Literal["hungarian", "majority"] = "hungarian",
    figures: bool = True,
) -> Metrics:
    """Unsupervised segmentation scores (PointDC, GrowSP): clusters are matched to classes on the scored points themselves.

    Parameters
    ----------
    matching: "hungarian": one-to-one, of the most points in agreement; clusters left over are wrong. "majority": each
        cluster gets its most frequent class.

    Points whose label is outside 0..C-1 do not count. Curves: `mIoU against round` (0: the first clusters), each round
    matched for itself, and `IoU against class`.

    Raises ValueError if the truth `point_label` is missing, or no predicted point is labelled.
    """
    if "point_label" not in dataset.arrays:
        raise ValueError("dataset: truth array 'point_label' is needed and absent; use a data set with labelled points")
    names = list(dataset.meta["class_names"])
    every = np.asarray(dataset.arrays["point_label"])
    rows, k = np.asarray(model.arrays["rows"]), int(model.meta["n_clusters"])
    truth = every[rows]
    if not ((truth >= 0) & (truth < len(names))).any():
        raise ValueError("dataset: no point of the model is labelled")
    matched, iou_C, values = _scores(np.asarray(model.arrays["prediction"]), truth, k, len(names), matching)
    train = np.setdiff1d(np.arange(len(every)), rows)
    if len(train) and "units" in pseudo_labels.tables:
        labels = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()[train]
        values["miou_pseudo_labels"] = _scores(labels, every[train], k, len(names), matching)[2]["miou"]
    by_round = [_scores(p, truth, k, len(names), matching)[2]["miou"] for p in np.asarray(model.arrays["rounds"])]
    present = np.flatnonzero(~np.isnan(iou_C))
    curves = [curve_table("mIoU against round", range(len(by_round)), by_round)]
    curves.append(curve_table("IoU against class", present, iou_C[present]))
    drawn = {}
    if figures:
        share_C = np.bincount(truth[(truth >= 0) & (truth < len(names))], minlength=len(names)) / len(truth)
        drawn = {
            "classes": class_figure(iou_C, share_C, names),
            "room": _room(dataset, pseudo_labels, rows, matched, every, k, names, matching),
        }
    meta = {"values": {name: float(value) for name, value in values.items()}, "matching": matching}
    return Metrics({"curves": pd.concat(curves, ignore_index=True)}, meta=meta, figures=drawn)


def _scores(
    prediction_T: np.ndarray, truth_T: np.ndarray, k: int, classes: int, matching: Literal["hungarian", "majority"]
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Class of every point int64 [T] (-1: none), IoU [C] (NaN: not in the truth), and the scores."""
    votes_KC = confusion(prediction_T, truth_T, k, classes)[:-1]
    class_T = np.append(map_clusters(votes_KC, matching), -1)[prediction_T]
    counts = confusion(class_T, truth_T, classes, classes)
    hits_C, truth_C = counts.diagonal(), counts.sum(axis=0)
    union_C = counts[:-1].sum(axis=1) + truth_C - hits_C
    present = truth_C > 0
    iou_C = np.where(present, hits_C / np.maximum(union_C, 1), np.nan)
    accuracy_C = hits_C[present] / truth_C[present]
    scores = {"miou": np.nanmean(iou_C), "macc": accuracy_C.mean(), "oacc": hits_C.sum() / truth_C.sum()}
    return class_T, iou_C, {name: float(value) for name, value in scores.items()}


def _room(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    rows: np.ndarray,
    class_T: np.ndarray,
    every: np.ndarray,
    k: int,
    names: list[str],
    matching: Literal["hungarian", "majority"],
) -> bytes:
    """The first scored room: colours, the first clusters, the prediction, the truth."""
    scene = np.asarray(dataset.arrays["scene"])[rows]
    mine = scene == scene[0]
    pictures = {"colour": np.asarray(dataset.arrays["rgb"], dtype=np.float64)[rows[mine]]}
    if "units" in pseudo_labels.tables:
        labels = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()[rows]
        pictures["first clusters"] = _scores(labels, every[rows], k, len(names), matching)[0][mine]
    pictures |= {"this arm": class_T[mine], "truth": every[rows][mine]}
    return room_figure(np.asarray(dataset.arrays["points"])[rows[mine]], pictures, names)
