"""Pseudo-labels as training targets, and their renewal from a network's own predictions.

Shape legend: n images, B batch, H, W pixels, M masks of one image.
"""

from collections.abc import Sequence

import numpy as np

from tasks.artifacts import Dataset, PseudoLabels
from tasks.segmentation.copy_paste import Batch
from tasks.segmentation.fusion import VOID, paint
from tasks.segmentation.panoptic_inference import Prediction, segments_of
from tasks.segmentation.regions import mask_iou

_SAME_OBJECT = 0.5


class Targets:
    """Training targets of every image, cut out per batch so that the whole data set is never in memory."""

    def __init__(self, dataset: Dataset, pseudo_labels: PseudoLabels):
        self.images_nHWC = dataset.arrays["images"]
        self.panoptic_nHW = pseudo_labels.arrays["panoptic"]
        self.semantic_nHW = pseudo_labels.arrays["semantic_target"]
        segments = segments_of(pseudo_labels.tables["segments"])
        # category_of[sample, segment] is the thing cluster; -1 for stuff and void.
        self.category_of = np.full((len(self.images_nHWC), segments.most), -1, dtype=np.int64)
        things = segments.where(segments.is_thing)
        self.category_of[things.sample, things.segment] = things.category
        self.renewed: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def images(self, rows_B: np.ndarray) -> np.ndarray:
        """Images float32 0..1 [B, H, W, 3]; a grey image is repeated."""
        return images_0_1(self.images_nHWC, rows_B)

    def batch(self, rows_B: np.ndarray) -> Batch:
        """Images and targets of some samples."""
        maps = [self.maps(int(row)) for row in rows_B]
        instance, category, semantic = (np.stack(part) for part in zip(*maps, strict=True))
        return Batch(self.images(rows_B), instance, category, semantic)

    def maps(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Instance int32, category int64 and semantic target uint8 [H, W] of one sample."""
        if row in self.renewed:
            return self.renewed[row]
        panoptic_HW = np.asarray(self.panoptic_nHW[row])
        category_HW = self.category_of[row, panoptic_HW]
        return (
            np.where(category_HW >= 0, panoptic_HW, 0).astype(np.int32),
            category_HW,
            np.array(self.semantic_nHW[row]),
        )

    def renew(self, rows: np.ndarray, predictions: Sequence[Prediction], score_min: float) -> int:
        """Replace the instances of `rows` by `renewed_masks`; returns how many were taken from predictions.

        Where an old instance is gone the semantic target is ignored from then on.
        """
        taken = 0
        for row, prediction in zip(rows, predictions, strict=True):
            instance_HW, category_HW, semantic_HW = self.maps(int(row))
            old = [instance_HW == number for number in np.unique(instance_HW[instance_HW > 0])]
            masks, source = renewed_masks(prediction, old, score_min)
            categories = [
                int(prediction.category_D[i]) if i >= 0 else int(category_HW[m][0])
                for m, i in zip(masks, source, strict=True)
            ]
            taken += sum(i >= 0 for i in source)
            shown_HW = paint(np.stack(masks), *instance_HW.shape) if masks else np.full(instance_HW.shape, -1)
            covered_HW = shown_HW >= 0
            new_category_HW = np.where(covered_HW, np.array([*categories, -1])[shown_HW], -1)
            new_semantic_HW = np.where(covered_HW, 0, np.where(semantic_HW == 0, VOID, semantic_HW)).astype(np.uint8)
            self.renewed[int(row)] = ((shown_HW + 1).astype(np.int32), new_category_HW, new_semantic_HW)
        return taken


def renewed_masks(
    prediction: Prediction, old: list[np.ndarray], score_min: float
) -> tuple[list[np.ndarray], list[int]]:
    """CutLER's self-training (arXiv 2301.11320, section 3.4): predictions with at least `score_min`, and the old masks
    that overlap each of them by IoU < 0.5. Returns masks and, for each, its detection (-1: an old mask)."""
    chosen = np.flatnonzero(prediction.score_D >= score_min)
    masks = [prediction.masks_DHW[i] for i in chosen]
    kept = old
    if masks and old:
        overlap_MN = mask_iou(np.stack(old), np.stack(masks))
        kept = [mask for mask, most in zip(old, overlap_MN.max(axis=1), strict=True) if most < _SAME_OBJECT]
    return masks + kept, [int(i) for i in chosen] + [-1] * len(kept)


def images_0_1(images_nHWC: np.ndarray, rows_B: np.ndarray) -> np.ndarray:
    """Images float32 [B, H, W, 3] in 0..1; a grey image is repeated in three channels."""
    images = np.asarray(images_nHWC[rows_B])
    scaled = images.astype(np.float32) / 255.0 if images.dtype == np.uint8 else images.astype(np.float32)
    scaled = scaled if scaled.ndim == 4 else scaled[..., None]
    return np.repeat(scaled, 3, axis=3) if scaled.shape[3] == 1 else scaled
