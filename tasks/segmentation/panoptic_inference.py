"""Detections and a stuff map merged into one panoptic map, and the model artifact that holds the result.

Shape legend: D detections of one image, H, W pixels, T predicted images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts import Dataset

Share = Annotated[float, Field(ge=0, le=1)]


class Inference(BaseModel):
    """How outputs become segments.

    `score_min`: detections below are not pasted. `overlap_max`: a detection is skipped if more of it is already
    taken. `stuff_area_min`: least share of the image for a stuff segment. For the centre-based network also
    `centre_min`: least height of a centre, `centre_window`: side in pixels of the window in which a centre must be
    the highest, `instance_area_min`: least share of the image for an instance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    score_min: Share = 0.0
    overlap_max: Share = 0.5
    stuff_area_min: Share = 0.013
    centre_min: Share = 0.15
    centre_window: Annotated[int, Field(ge=1)] = 9
    instance_area_min: Share = 0.0073


@dataclass(frozen=True)
class Prediction:
    """What a network says about one image, before pasting.

    `masks_DHW` bool, `category_D` thing cluster, `score_D` 0..1; `stuff_HW` the stuff cluster 0..K_S-1, or -1 where
    the pixel is a thing or void; `thing_HW` the most likely thing cluster of every pixel (-1: unknown).
    """

    masks_DHW: np.ndarray
    category_D: np.ndarray
    score_D: np.ndarray
    stuff_HW: np.ndarray
    thing_HW: np.ndarray


@dataclass(frozen=True)
class Merged:
    """`panoptic_HW` int32 (0 void), `segment_D` the segment of each detection (0: not pasted), stuff segments as
    (segment, stuff cluster, area)."""

    panoptic_HW: np.ndarray
    segment_D: np.ndarray
    stuff: list[tuple[int, int, int]]


def merge_panoptic(masks_DHW: np.ndarray, score_D: np.ndarray, stuff_HW: np.ndarray, settings: Inference) -> Merged:
    """Paste detections in the order of their scores, then stuff into what is free (Kirillov et al., CVPR 2019, 1801.00868).

    A detection is skipped below `score_min`, or if more than `overlap_max` of it is taken; else its free part
    becomes a segment. Then every stuff cluster with at least `stuff_area_min` of the image in free pixels becomes
    one segment. The rest is void.
    """
    panoptic_HW = np.zeros(stuff_HW.shape, dtype=np.int32)
    segment_D = np.zeros(len(score_D), dtype=np.int64)
    last = 0
    for detection in np.argsort(-score_D, kind="stable"):
        if score_D[detection] < settings.score_min:
            break
        mask_HW = masks_DHW[detection]
        free_HW = mask_HW & (panoptic_HW == 0)
        area = mask_HW.sum()
        if not free_HW.any() or area - free_HW.sum() > settings.overlap_max * area:
            continue
        last += 1
        panoptic_HW[free_HW], segment_D[detection] = last, last
    free_HW, stuff = panoptic_HW == 0, []
    for cluster in np.unique(stuff_HW[stuff_HW >= 0]):
        pixels_HW = free_HW & (stuff_HW == cluster)
        area = int(pixels_HW.sum())
        if area and area >= settings.stuff_area_min * stuff_HW.size:
            last += 1
            panoptic_HW[pixels_HW] = last
            stuff.append((last, int(cluster), area))
    return Merged(panoptic_HW, segment_D, stuff)


def predicted_rows(dataset: Dataset) -> np.ndarray:
    """Samples that a model predicts: those of split `test`, or of `train` if there is no such split."""
    return dataset.rows("test" if "test" in set(dataset.samples["split"]) else "train")


def predictions_as_tables(
    rows_T: np.ndarray, predictions: Sequence[Prediction], thing_clusters: int, settings: Inference
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Arrays and table `segments` of a model artifact (see `panoptic_network` for their meaning)."""
    panoptic, semantic, masks = [], [], []
    things: list[tuple] = []
    stuff: list[tuple] = []
    for row, p in zip(rows_T, predictions, strict=True):
        merged = merge_panoptic(p.masks_DHW, p.score_D, p.stuff_HW, settings)
        semantic_HW = np.where(p.stuff_HW >= 0, thing_clusters + p.stuff_HW, p.thing_HW).astype(np.int16)
        for detection, segment in enumerate(merged.segment_D):
            category, area = int(p.category_D[detection]), int(p.masks_DHW[detection].sum())
            things.append((int(row), int(segment), category, True, area, float(p.score_D[detection])))
            masks.append(p.masks_DHW[detection])
            if segment:
                semantic_HW[merged.panoptic_HW == segment] = category
        stuff += [(int(row), s, thing_clusters + cluster, False, area, 1.0) for s, cluster, area in merged.stuff]
        panoptic.append(merged.panoptic_HW)
        semantic.append(semantic_HW)
    height, width = predictions[0].stuff_HW.shape
    arrays = {
        "rows": np.asarray(rows_T, dtype=np.int64),
        "panoptic": np.stack(panoptic),
        "semantic": np.stack(semantic),
        "masks": np.stack(masks).astype(bool) if masks else np.zeros((0, height, width), dtype=bool),
    }
    return arrays, segment_table(things + stuff)


@dataclass(frozen=True)
class Segments:
    """The columns of a table `segments` as arrays; `score` is 1 where the table has none."""

    sample: np.ndarray
    segment: np.ndarray
    category: np.ndarray
    is_thing: np.ndarray
    area: np.ndarray
    score: np.ndarray

    @property
    def most(self) -> int:
        """One more than the largest segment number."""
        return int(self.segment.max(initial=0)) + 1

    def where(self, chosen: np.ndarray) -> "Segments":
        """Some of the rows."""
        return Segments(*(column[chosen] for column in vars(self).values()))


def segments_of(table: pd.DataFrame) -> Segments:
    """A table `segments` as arrays."""
    names = ("sample", "segment", "category", "is_thing", "area")
    sample, segment, category, is_thing, area = (table[name].to_numpy() for name in names)
    score = table["score"].to_numpy() if "score" in table else np.ones(len(table))
    return Segments(sample, segment, category, is_thing, area, score)


def segment_table(rows: list[tuple]) -> pd.DataFrame:
    """Rows (sample, segment, category, is_thing, area, score) as the table `segments` of a model."""
    names = ["sample", "segment", "category", "is_thing", "area", "score"]
    kinds = {
        "sample": "int64",
        "segment": "int64",
        "category": "int64",
        "is_thing": bool,
        "area": "int64",
        "score": "float64",
    }
    return pd.DataFrame(rows, columns=names).astype(kinds)
