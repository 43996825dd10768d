"""What a trained model says about new images, for serving; the training steps store what this needs."""

from __future__ import annotations

import numpy as np

from tasks.artifacts import Model
from tasks.nn.encoder import embed, encoder_from_config, image_tensor


def can_predict(model: Model) -> bool:
    """Whether `predict` knows the network of this model."""
    return "encoder" in model.networks


def predict(model: Model, images: np.ndarray) -> np.ndarray:
    """Features float32 [n, d] of images [n, H, W, C] by the model's encoder.

    Raises `ValueError` if the model holds no such network.
    """
    if "encoder" in model.networks:
        network = model.networks["encoder"]
        encoder = encoder_from_config(network.config, network.state)
        return embed(encoder.backbone, image_tensor(images)).numpy()
    raise ValueError(f"this model cannot be served; its networks are: {', '.join(model.networks) or 'none'}")
