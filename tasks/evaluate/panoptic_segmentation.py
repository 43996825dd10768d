"""Instance, semantic and panoptic segmentation judged by one mapping of clusters to classes."""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels
from tasks.curves import curve_table
from tasks.metrics.instance import InstanceScores, Masks, instance_scores
from tasks.metrics.mapping import (
    UNMAPPED,
    Mapped,
    Mapping,
    agreement,
    detection_votes,
    majority_class,
    map_clusters,
    region_votes,
)
from tasks.metrics.panoptic import PanopticCounts, panoptic_counts, predicted_map, true_map
from tasks.metrics.panoptic_figures import panoptic_figures
from tasks.metrics.semantic import semantic_scores
from tasks.metrics.truth import Truth, truth_of
from tasks.segmentation.fusion import paint
from tasks.segmentation.mask_quality import mask_quality
from tasks.segmentation.panoptic_inference import segments_of
from tasks.segmentation.regions import instances_of

METRICS = {
    "pq": "panoptic quality, mean over classes, 0..1, higher is better",
    "sq": "segmentation quality: mean IoU of matched segments, mean over classes, 0..1, higher is better",
    "rq": "recognition quality: F1 of segments, mean over classes, 0..1, higher is better",
    "pq_things": "panoptic quality of thing classes, 0..1, higher is better",
    "sq_things": "segmentation quality of thing classes, 0..1, higher is better",
    "rq_things": "recognition quality of thing classes, 0..1, higher is better",
    "pq_stuff": "panoptic quality of stuff classes, 0..1, higher is better",
    "sq_stuff": "segmentation quality of stuff classes, 0..1, higher is better",
    "rq_stuff": "recognition quality of stuff classes, 0..1, higher is better",
    "pixel_acc": "share of labelled pixels with the right class, 0..1, higher is better",
    "miou": "mean IoU over the classes present, 0..1, higher is better",
    "pixel_acc_dense": "pixel_acc of the dense clusters alone, which the network never sees undone, 0..1, higher is better",
    "miou_dense": "miou of the dense clusters alone, 0..1, higher is better",
    "ap": "COCO average precision of masks, mean over IoU 0.5-0.95 and thing classes, 0..1, higher is better",
    "ap50": "COCO average precision at IoU 0.5, mean over thing classes, 0..1, higher is better",
    "ar100": "COCO average recall with 100 detections, mean over thing classes, 0..1, higher is better",
    "ap_agnostic": "ap with all masks of one class, 0..1, higher is better",
    "ap50_agnostic": "ap50 with all masks of one class, 0..1, higher is better",
    "ar100_agnostic": "ar100 with all masks of one class, 0..1, higher is better",
    "mask_recall": "share of the true training objects that a MaskCut mask hits (IoU > 0.5), 0..1, higher is better",
    "mask_precision": "share of the MaskCut masks of the training split that hit an object, 0..1, higher is better",
    "mapped": "share of the clusters that the votes gave a class, 0..1",
    "vote_agreement": "share of all votes that agree with the mapping, 0..1, higher is better",
}
Share = Annotated[float, Field(ge=0, le=1)]


class Votes(BaseModel):
    """Which regions vote. `score_min`, `box_iou`: detections with at least that score vote for true objects with a larger
    box IoU. `stuff`: "regions": the pixels of one cluster in one image vote for the true regions with an IoU above
    `region_iou` (the paper's code); "pixels": every pixel votes, as is usual for semantic segmentation, and better where clusters
    are finer than classes, so that few regions reach the IoU."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    score_min: Share = 0.6
    box_iou: Share = 0.7
    stuff: Literal["regions", "pixels"] = "regions"
    region_iou: Share = 0.15


def panoptic_segmentation(
    dataset: Dataset,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    mapping: Mapping = "majority",
    fit_on: Literal["train", "test"] = "train",
    votes: Votes = Votes(),  # noqa: B008  (frozen)
    examples: Annotated[int, Field(ge=1)] = 6,
    figures: bool = True,
) -> Metrics:
    """Universal segmentation scored after clusters were mapped to classes (U2Seg: arXiv 2312.17243, section 4).

    Thing clusters get the class of the true objects that their masks vote for, stuff clusters that of the true regions. The paper
    says Hungarian matching, its code takes a majority vote in which many clusters may share one class; both are here.
    Clusters without votes are unmapped: their detections are dropped and their pixels are void. Stuff segments of one
    class in one image are one segment. A dense cluster may get a thing class: its pixels
    then have that class, but are void in the panoptic map, where things need to be told apart.

    Parameters
    ----------
    mapping: "majority", or "hungarian" (one-to-one; a cluster that finds no class is unmapped).
    fit_on: images whose truth fits the mapping. "train": MaskCut masks and dense clusters of the training split, so that
        test truth is used for scores alone and all arms share one mapping; "test": the predictions themselves, as the paper does.
    votes: {score_min, box_iou, region_iou}.
    examples: images in the figure.

    Without the truth array `instance` only semantic metrics are given, and thing clusters vote as regions.

    Raises ValueError if the truth array `semantic` is missing, or a model has no panoptic maps.
    """
    for name in ("rows", "panoptic", "semantic", "masks"):
        if name not in model.arrays:
            raise ValueError(
                f"model: array '{name}' is needed and absent; train with 'panoptic_network' or take the pseudo-labels"
            )
    rows = np.asarray(model.arrays["rows"])
    truth = truth_of(dataset, rows)
    mapped = _fit(dataset, clusters, model, truth, mapping, fit_on, votes)
    class_nHW = mapped.class_of[np.asarray(model.arrays["semantic"])]
    dense_nHW = np.append(mapped.stuff_classes, UNMAPPED)[np.asarray(clusters.arrays["dense"][rows])]
    values: dict[str, float] = {}
    values["pixel_acc"], values["miou"] = semantic_scores(class_nHW, truth.semantic, truth.classes)
    values["pixel_acc_dense"], values["miou_dense"] = semantic_scores(dense_nHW, truth.semantic, truth.classes)
    every = np.concatenate([mapped.thing_classes, mapped.stuff_classes])
    values["mapped"] = float((every >= 0).mean())
    together = np.concatenate([mapped.thing_votes, mapped.stuff_votes])
    values["vote_agreement"] = agreement(together, every)
    curves = []
    if truth.instance is not None:
        counts = _panoptic(model, mapped, truth)
        values |= _panoptic_values(counts, truth)
        curves.append(_by_class(counts))
        if truth.instance.any():
            scores = {aware: _instances(model, mapped, truth, rows, aware) for aware in (True, False)}
            values |= {"ap": scores[True].ap, "ap50": scores[True].ap50, "ar100": scores[True].ar100}
            agnostic = scores[False]
            values |= {"ap_agnostic": agnostic.ap, "ap50_agnostic": agnostic.ap50, "ar100_agnostic": agnostic.ar100}
            curves.append(curve_table("AP against mask IoU", scores[True].thresholds, scores[True].ap_by_iou))
            curves.append(
                curve_table("precision against recall, any class, IoU 0.5", agnostic.recall, agnostic.precision)
            )
        train, units = dataset.rows("train"), clusters.tables["units"]
        owner = units["sample"].to_numpy()
        values["mask_recall"], values["mask_precision"] = mask_quality(
            clusters.arrays["masks"], owner, dataset.arrays["instance"], train
        )
    drawn = {}
    if figures:
        drawn = panoptic_figures(dataset, clusters, pseudo_labels, model, truth, mapped, class_nHW, examples)
    meta = {
        "values": {name: float(value) for name, value in values.items()},
        "mapping": mapping,
        "fit_on": fit_on,
        "thing_cluster_classes": mapped.thing_classes.tolist(),
        "stuff_cluster_classes": mapped.stuff_classes.tolist(),
    }
    tables = {"curves": pd.concat(curves, ignore_index=True)} if curves else {}
    return Metrics(tables, meta=meta, figures=drawn)


def _fit(
    dataset: Dataset, clusters: Clusters, model: Model, test: Truth, mapping: Mapping, fit_on: str, votes: Votes
) -> Mapped:
    """Votes of all clusters and the classes that they give."""
    things, stuff = int(clusters.meta["thing_clusters"]), int(clusters.meta["stuff_clusters"])
    if fit_on == "train":
        rows = dataset.rows("train")
        truth = truth_of(dataset, rows)
        units = clusters.tables["units"]
        owner, category, score = units["sample"].to_numpy(), units["cluster"].to_numpy(), np.ones(len(units))
        masks, dense_nHW = clusters.arrays["masks"], np.asarray(clusters.arrays["dense"][rows])
    else:
        rows, truth = np.asarray(model.arrays["rows"]), test
        found = segments_of(model.tables["segments"])
        found = found.where(found.is_thing)
        owner, category, score = found.sample, found.category, found.score
        semantic_nHW = np.asarray(model.arrays["semantic"])
        masks, dense_nHW = model.arrays["masks"], np.where(semantic_nHW >= things, semantic_nHW - things, UNMAPPED)
    position = np.full(len(dataset.samples), -1)
    position[rows] = np.arange(len(rows))
    image = position[owner]
    limits: dict[str, Any] = {"classes": truth.classes}
    areas = {**limits, "iou_min": votes.region_iou if votes.stuff == "regions" else None}
    if truth.instance is not None:
        thing_votes = detection_votes(
            masks, image, category, score, truth.semantic, truth.instance,
            clusters=things, score_min=votes.score_min, iou_min=votes.box_iou, **limits,
        )  # fmt: skip
    else:
        thing_nHW = np.full(truth.semantic.shape, UNMAPPED)
        for index in range(len(rows)):
            mine = np.flatnonzero((image == index) & (score >= votes.score_min))
            shown_HW = paint(np.asarray(masks[mine]), *truth.semantic.shape[1:])
            thing_nHW[index] = np.append(category[mine], UNMAPPED)[shown_HW]
        thing_votes = region_votes(thing_nHW, truth.semantic, clusters=things, **areas)
    stuff_votes = region_votes(dense_nHW, truth.semantic, clusters=stuff, **areas)
    return Mapped(thing_votes, stuff_votes, map_clusters(thing_votes, mapping), map_clusters(stuff_votes, mapping))


def _panoptic(model: Model, mapped: Mapped, truth: Truth) -> PanopticCounts:
    assert truth.instance is not None
    segments = segments_of(model.tables["segments"])
    segments = segments.where(segments.segment > 0)
    position = np.full(int(model.arrays["rows"].max()) + 1, -1)
    position[model.arrays["rows"]] = np.arange(len(model.arrays["rows"]))
    class_of = np.full((len(truth.semantic), segments.most), UNMAPPED)
    is_thing = np.zeros_like(class_of, dtype=bool)
    of_segment = mapped.class_of[segments.category]
    # Stuff is not divided into objects, so a stuff segment cannot be a segment of a thing class.
    undivided = ~segments.is_thing & np.isin(of_segment, truth.things)
    class_of[position[segments.sample], segments.segment] = np.where(undivided, UNMAPPED, of_segment)
    is_thing[position[segments.sample], segments.segment] = segments.is_thing
    pairs = (
        (
            predicted_map(np.asarray(model.arrays["panoptic"][i]), class_of[i], is_thing[i]),
            true_map(truth.semantic[i], instance_HW, truth.things, truth.classes),
        )
        for i, instance_HW in enumerate(truth.instance)
    )
    return panoptic_counts(pairs, truth.classes)


def _panoptic_values(counts: PanopticCounts, truth: Truth) -> dict[str, float]:
    """Means over the classes that occur, all, things and stuff; a group without any class is left out."""
    is_thing = np.isin(np.arange(truth.classes), truth.things)
    values = {}
    for suffix, group in (("", np.ones(truth.classes, dtype=bool)), ("_things", is_thing), ("_stuff", ~is_thing)):
        for name, of_class in zip(("pq", "sq", "rq"), counts.quality(), strict=True):
            seen = of_class[group & ~np.isnan(of_class)]
            if len(seen):
                values[name + suffix] = float(seen.mean())
    return values


def _by_class(counts: PanopticCounts) -> pd.DataFrame:
    pq, _, _ = counts.quality()
    seen = np.flatnonzero(~np.isnan(pq))
    return curve_table("PQ against class", seen, pq[seen])


def _instances(model: Model, mapped: Mapped, truth: Truth, rows: np.ndarray, class_aware: bool) -> InstanceScores:
    """COCO scores of all detections; a detection whose cluster is unmapped is dropped where classes count."""
    assert truth.instance is not None
    found = segments_of(model.tables["segments"])
    found = found.where(found.is_thing)
    class_of = mapped.class_of[found.category]
    kept = np.flatnonzero(class_of >= 0) if class_aware else np.arange(len(class_of))
    position = np.full(int(rows.max()) + 1, -1)
    position[rows] = np.arange(len(rows))
    masks = np.asarray(model.arrays["masks"])[kept]
    detections = Masks(masks, position[found.sample[kept]], class_of[kept], found.score[kept])
    objects = [instances_of(instance_HW) for instance_HW in truth.instance]
    owner = np.repeat(np.arange(len(objects)), [len(masks) for masks in objects])
    masks = np.concatenate(objects)
    of_object = np.array(
        [majority_class(truth.semantic[i], mask, truth.classes) for i, mask in zip(owner, masks, strict=True)]
    )
    return instance_scores(
        detections, Masks(masks, owner, of_object, np.ones(len(owner))), len(rows), class_aware=class_aware
    )
