"""What a trained model says about new images, for serving; networks are rebuilt from their configuration."""

from __future__ import annotations

import numpy as np
import torch

from tasks.artifacts import Model
from tasks.nn.encoder import embed, encoder_from_config, image_tensor
from tasks.segmentation.panoptic_deeplab import centre_network_from_config
from tasks.segmentation.panoptic_inference import predictions_as_tables
from tasks.video.student import mask_network, student_masks

BATCH = 32


def can_predict(model: Model) -> bool:
    """Whether `predict` knows the network of this model."""
    return "encoder" in model.networks or "student" in model.networks or _is_centre_network(model)


def predict(model: Model, images: np.ndarray) -> np.ndarray:
    """Outputs of the model for images [n, H, W, C], uint8 or float32 in 0..1.

    An encoder gives its features float32 [n, d]; a panoptic network gives a map int16 [n, H, W] of clusters (things
    first, then stuff; -1 is none); a mask student gives soft foreground masks float32 [n, H, W] in 0..1. Raises `ValueError` for a model that holds neither.
    """
    if "encoder" in model.networks:
        network = model.networks["encoder"]
        encoder = encoder_from_config(network.config, network.state)
        return embed(encoder.backbone, image_tensor(images)).numpy()
    if "student" in model.networks:
        network = model.networks["student"]
        student = mask_network(network.config)
        student.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
        return student_masks(student, images, model.meta["input"], model.meta["output_activation"])
    if _is_centre_network(model):
        network = model.networks["network"]
        centre = centre_network_from_config(network.config)
        centre.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.state.items()})
        batch_NHWC = image_tensor(images).numpy()
        predictions = [p for i in range(0, len(batch_NHWC), BATCH) for p in centre.predict(batch_NHWC[i : i + BATCH])]
        arrays, _ = predictions_as_tables(
            np.arange(len(predictions)), predictions, model.meta["thing_clusters"], centre.inference
        )
        return arrays["semantic"]
    raise ValueError(f"this model cannot be served; its networks are: {', '.join(model.networks) or 'none'}")


def _is_centre_network(model: Model) -> bool:
    config = model.networks["network"].config if "network" in model.networks else {}
    return config.get("arch") == "panoptic_deeplab" and model.meta["semantic"] == "head"
