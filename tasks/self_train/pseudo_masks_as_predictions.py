"""The teacher's soft masks of the test images taken for predictions: what a student has to beat."""

import numpy as np
import torch

from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.segmentation.panoptic_inference import predicted_rows
from tasks.video.background import per_frame
from tasks.video.student import resized_masks


def pseudo_masks_as_predictions(dataset: Dataset, pseudo_labels: PseudoLabels) -> Model:
    """No training: the masks of the pseudo-labels themselves (the teacher may use the whole clip of a test frame).

    Returns `rows` and `masks` as `mask_student`. Raises ValueError if the pseudo-labels have no soft masks.
    """
    if "masks" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: array 'masks' is needed and absent; use step 'confident_frames'")
    rows = predicted_rows(dataset)
    masks = torch.from_numpy(np.array(pseudo_labels.arrays["masks"][rows], dtype=np.float32))
    resized = resized_masks(masks, dataset.arrays["images"].shape[1:3]).numpy()
    return Model({}, {"rows": rows, "masks": per_frame(resized).astype(np.float16)})
