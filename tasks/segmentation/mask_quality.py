"""How well masks found without labels match true objects: a diagnostic, for `evaluate` alone."""

import numpy as np

MATCH_IOU = 0.5


def mask_quality(
    masks: np.ndarray, owner: np.ndarray, instance_truth: np.ndarray, images: np.ndarray | None = None
) -> tuple[float, float]:
    """(recall, precision) at IoU > 0.5.

    Recall is the share of true objects that some mask matches, precision the share of masks that match some object.

    Parameters
    ----------
    masks: bool [M, H, W]. owner: int [M], the image of each mask, an index into `instance_truth`.
    instance_truth: int [n, H, W], 0 where there is no object, else its number in the image.
    images: indices of the images to look at; default: all. Without any object recall is 0, without any mask
        precision is 0.
    """
    chosen = np.arange(len(instance_truth)) if images is None else np.asarray(images)
    objects = found = kept = matched = 0
    for image in chosen:
        truth_HW = np.asarray(instance_truth[image])
        sizes = np.bincount(truth_HW.ravel())
        sizes[0] = 0
        objects += int((sizes > 0).sum())
        hit = np.zeros(len(sizes), dtype=bool)
        for index in np.flatnonzero(np.asarray(owner) == image):
            mask_HW = np.asarray(masks[index])
            common = np.bincount(truth_HW[mask_HW], minlength=len(sizes))
            iou = np.where(sizes > 0, common / np.maximum(sizes + mask_HW.sum() - common, 1), 0)
            kept += 1
            matched += bool((iou > MATCH_IOU).any())
            hit |= iou > MATCH_IOU
        found += int(hit.sum())
    return found / max(objects, 1), matched / max(kept, 1)
