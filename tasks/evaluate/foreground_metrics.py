"""Foreground masks of single images scored against true objects.

Shape legend: n images, H, W pixels, F frames of the data set.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.metrics.foreground import (
    ForegroundTruth,
    absolute_error,
    curve,
    f_measure,
    foreground_truth,
    ious,
    localised,
    pixel_precision,
    precision_recall,
)
from tasks.video.clips import frames
from tasks.video.figures import black_and_white, heat, masks_figure, selection_figure, split_figure
from tasks.video.student import resized_masks

METRICS = {
    "mean_iou": "mean over images of the IoU of mask and object (Jaccard J), 0..1, higher is better",
    "mean_iou_moving": "mean_iou of the clips in which something moves, 0..1, higher is better",
    "mean_iou_still": "mean_iou of the clips in which nothing moves, 0..1, higher is better",
    "f_measure": "mean over images of the F-measure with beta^2 = 0.3, 0..1, higher is better",
    "max_f": "highest F-measure of mean precision and recall over all thresholds, 0..1, higher is better",
    "mae": "mean absolute difference of soft mask and truth, 0..1, lower is better",
    "corloc": "share of images whose box meets a true box with IoU > 0.5, 0..1, higher is better",
    "pixel_precision": "share of pixels that are right (P of object discovery), 0..1, higher is better",
    "teacher_iou_train": "mean IoU of the teacher masks of all training images, 0..1, higher is better",
    "teacher_iou_selected": "mean IoU of the teacher masks that were selected, 0..1, higher is better",
    "selected_clips": "number of clips that the selected frames come from, higher is more diverse",
}


def foreground_metrics(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    beta2: Annotated[float, Field(gt=0)] = 0.3,
    figures: bool = True,
) -> Metrics:
    """Salient-object and object-discovery measures (YouTube-Objects, Object Discovery, PASCAL-S).

    Parameters
    ----------
    threshold: a soft mask, stretched to 0..1, is foreground above it.
    beta2: weight of recall in the F-measure.

    The box of a mask is that of its largest component; an empty mask is a miss. Images without any labelled pixel are left
    out. `mean_iou_moving` and `_still` need the truth `still`, the metrics of the teacher its masks in the pseudo-labels.

    Raises ValueError if the model has no masks, they do not fit the truth, or no image is labelled.
    """
    for name in ("rows", "masks"):
        if name not in model.arrays:
            raise ValueError(f"model: array '{name}' is needed and absent; use a step that gives soft masks")
    rows = np.asarray(model.arrays["rows"])
    truth = foreground_truth(dataset, rows)
    masks = np.asarray(model.arrays["masks"], dtype=np.float32)
    if masks.shape != truth.objects.shape:
        raise ValueError(f"model: masks {masks.shape} do not fit the truth {truth.objects.shape}")
    if not truth.scored.any():
        raise ValueError("dataset: no image of the model has a labelled pixel")
    rows, masks, truth = rows[truth.scored], masks[truth.scored], ForegroundTruth(truth.objects[truth.scored])
    binary = masks > threshold
    iou = ious(binary, truth)
    precision, recall = curve(masks, truth)
    f_at = f_measure(precision, recall, beta2)
    values = {
        "mean_iou": iou.mean(),
        "f_measure": f_measure(*precision_recall(binary, truth), beta2).mean(),
        "max_f": f_at.max(),
        "mae": absolute_error(masks, truth).mean(),
        "corloc": localised(binary, truth).mean(),
        "pixel_precision": pixel_precision(binary, truth).mean(),
    }
    still = np.asarray(dataset.arrays["still"][rows]) if "still" in dataset.arrays else None
    if still is not None:
        values |= {f"mean_iou_{name}": iou[part].mean() for name, part in _groups(still) if part.any()}
    drawn = {}
    if "masks" in pseudo_labels.arrays:
        values |= _teacher(dataset, pseudo_labels, threshold)
        if figures:
            drawn = _figures(dataset, representation, clusters, pseudo_labels, rows, masks, truth, still, threshold)
    order = np.argsort(recall, kind="stable")
    curves = curve_table("precision against recall", recall[order], precision[order])
    meta = {"values": {name: float(value) for name, value in values.items()}}
    return Metrics({"curves": curves}, meta=meta, figures=drawn)


def _groups(still_n: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [("moving", ~still_n), ("still", still_n)]


def teacher_ious(dataset: Dataset, pseudo_labels: PseudoLabels, rows: np.ndarray, threshold: float) -> np.ndarray:
    """IoU of the teacher's masks of samples `rows`; NaN where nothing is labelled."""
    truth = foreground_truth(dataset, rows)
    masks = torch.from_numpy(np.asarray(pseudo_labels.arrays["masks"][rows], dtype=np.float32))
    found = ious(resized_masks(masks, truth.objects.shape[1:]).numpy() > threshold, truth)
    return np.where(truth.scored, found, np.nan)


def _teacher(dataset: Dataset, pseudo_labels: PseudoLabels, threshold: float) -> dict[str, float]:
    train = dataset.rows("train")
    iou, chosen = teacher_ious(dataset, pseudo_labels, train, threshold), pseudo_labels.arrays["selected"][train]
    values = {}
    if not np.isnan(iou).all():
        values["teacher_iou_train"] = float(np.nanmean(iou))
    if chosen.any() and not np.isnan(iou[chosen]).all():
        values["teacher_iou_selected"] = float(np.nanmean(iou[chosen]))
    if "clip" in dataset.arrays:
        values["selected_clips"] = float(len(np.unique(dataset.arrays["clip"][train][chosen])))
    return values


def _figures(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    rows: np.ndarray,
    masks: np.ndarray,
    truth: ForegroundTruth,
    still: np.ndarray | None,
    threshold: float,
) -> dict[str, bytes]:
    drawn = {}
    train = dataset.rows("train")
    iou = teacher_ious(dataset, pseudo_labels, train, threshold)
    known = ~np.isnan(iou)
    if known.any():
        score, selected = pseudo_labels.arrays["score"][train], pseudo_labels.arrays["selected"][train]
        drawn["selection"] = selection_figure(score[known], iou[known], selected[known])
    groups = [("test frames", np.ones(len(rows), dtype=bool))] if still is None else _groups(still)
    groups = [(name, part) for name, part in groups if part.any()]
    before, after = teacher_ious(dataset, pseudo_labels, rows, threshold), ious(masks > threshold, truth)
    drawn["iou_by_motion"] = split_figure(
        {name: {"teacher": before[part], "this arm": after[part]} for name, part in groups}
    )
    examples: dict[str, list[np.ndarray]] = {}
    for name, part in groups:
        for number, index in enumerate(_spread(np.flatnonzero(part), 2)):
            examples[f"{name} {number + 1}"] = _pictures(
                dataset, representation, clusters, pseudo_labels, int(rows[index]), masks[index], truth.objects[index]
            )
    titles = ["frame", "PCA residual", "seeds", "teacher mask", "this arm", "truth"]
    drawn["masks"] = masks_figure(examples, titles)
    return drawn


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """`count` of the indices, evenly spread (fewer if there are fewer)."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)) + 2).round().astype(int)[1:-1]
    return indices[places]


def _pictures(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    row: int,
    mask_HW: np.ndarray,
    objects_HW: np.ndarray,
) -> list[np.ndarray]:
    shown = [frames(dataset, np.array([row]))[0].astype(np.float64)]
    blank = np.full((*mask_HW.shape, 3), 0.93)
    shown.append(heat(representation.arrays["residual"][row]) if "residual" in representation.arrays else blank)
    shown.append(black_and_white(clusters.arrays["seeds"][row]) if "seeds" in clusters.arrays else blank)
    shown.append(heat(np.asarray(pseudo_labels.arrays["masks"][row], dtype=np.float64)))
    return [*shown, heat(mask_HW), black_and_white((objects_HW > 0) & (objects_HW != 255))]
