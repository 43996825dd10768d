"""Frozen features of a CLIP checkpoint.

Shape legend: B batch, H height, W width, C channels, P projection.
"""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Network, Representation
from tasks.nn.encoder import image_tensor
from tasks.vectors import unit_features
from tasks.vision_language.clip_model import pixels_for


def clip_features(
    dataset: Dataset,
    checkpoint: Checkpoint,
    *,
    normalize: bool = True,
    use_text: bool = False,
    batch_size: Annotated[int, Field(ge=1)] = 64,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Representation:
    """Projected image features of CLIP (Radford et al., ICML 2021, arXiv 2103.00020), the teacher of MLCD
    (An et al., ECCV 2024, arXiv 2407.17331, section 3.1).

    Reads networks["clip"] of the checkpoint: a `transformers` CLIPModel or CLIPVisionModelWithProjection. Images
    are brought to the network's size (shorter side resized, antialiased bicubic; centre crop) and standardised by
    `image_mean`, `image_std` of the checkpoint's meta; grey images are repeated over the channels.

    Parameters
    ----------
    normalize: scale each feature vector to unit length.
    use_text: the feature is the sum of the unit image feature and the unit text feature, as in UNICOM (An et al.,
        ICLR 2023, arXiv 2304.05884); needs both towers and the array `token_ids` int64 [n, T] of the data set.
        The MLCD paper does not say which of the two it clusters; image features alone need no text.
    batch_size: images at a time. device: where the network runs.

    Returns `embedding` float32 [n, P] of all samples, one unit per sample.

    Raises ValueError: no network "clip" or one of another kind; images that do not fit its channels; `use_text`
    without text; a zero feature if `normalize`.
    """
    if "clip" not in checkpoint.networks:
        known = ", ".join(sorted(checkpoint.networks)) or "none"
        raise ValueError(f"checkpoint: network 'clip' is needed (networks: {known}); choose a CLIP checkpoint")
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    if use_text and "token_ids" not in dataset.arrays:
        raise ValueError("use_text: the data set has no text (array 'token_ids'); set use_text to false")
    network, vision = _load(checkpoint.networks["clip"], use_text)
    network = network.to(device).eval()
    images = dataset.arrays["images"]
    unit = torch.nn.functional.normalize
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            pixels_BCHW = pixels_for(image_tensor(images[rows]), checkpoint.meta, vision).to(device)
            output = network.vision_model(pixel_values=pixels_BCHW)
            feature_BP = network.visual_projection(output.pooler_output)
            if use_text:
                # Attention is causal and the end token pools: padding behind it needs no mask.
                token_ids = torch.from_numpy(np.array(dataset.arrays["token_ids"][rows], dtype=np.int64)).to(device)
                text_BP = network.text_projection(network.text_model(input_ids=token_ids).pooler_output)
                feature_BP = unit(feature_BP, dim=1) + unit(text_BP, dim=1)
            parts.append(feature_BP.float().cpu())
            progress.report(min(start + batch_size, len(images)), len(images))
    embedding = torch.cat(parts).numpy()
    if normalize:
        embedding = unit_features(embedding)
    sample = np.arange(len(images), dtype=np.int64)
    return Representation({"units": pd.DataFrame({"unit": sample, "sample": sample})}, {"embedding": embedding})


def _load(stored: Network, use_text: bool) -> tuple[Any, Any]:
    """The network (image tower alone unless `use_text`) and its vision configuration."""
    kind = stored.config.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise ValueError(f"checkpoint: network 'clip' is a '{kind}', expected 'clip' or 'clip_vision_model'")
    if use_text and kind != "clip":
        raise ValueError("use_text: the checkpoint holds the image tower only; choose one with both towers")
    state = {name: torch.from_numpy(np.array(value)) for name, value in stored.state.items()}
    if use_text:
        config = CLIPConfig(**stored.config)
        network = CLIPModel(config)
        vision: Any = config.vision_config
    else:
        both = kind == "clip"
        settings = {**stored.config["vision_config"], "projection_dim": stored.config["projection_dim"]} if both else {}
        vision = CLIPVisionConfig(**(settings or stored.config))
        network = CLIPVisionModelWithProjection(vision)
        state = {name: value for name, value in state.items() if name.startswith(("vision_model.", "visual_proj"))}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"checkpoint: the weights of 'clip' do not fit its configuration ({reason})") from error
    return network, vision
