"""Soft groups of images by the class prompts that they are nearest to."""

from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn.functional import normalize

from tasks.artifacts import Clusters, Representation
from tasks.vision_language.cache import TEMPERATURE
from tasks.vision_language.features import features_and_classes


def zero_shot_assignment(
    representation: Representation, *, temperature: Annotated[float, Field(gt=0)] = TEMPERATURE
) -> Clusters:
    """Zero-shot classification by CLIP (Radford et al., ICML 2021, arXiv 2103.00020), one group per class.

    temperature: what the logits, cosines times the encoder's own scale, are divided by before the softmax. TFUP (arXiv
    2404.16339) selects with 10; with 1 all but one probability vanish.

    Returns table `units` (unit, sample, cluster = the most probable class), `membership` float32 [U, K], `centroids`
    float32 [K, P] (mean unit feature of a group; the class's text where a group is empty); meta `n_clusters`.

    Raises ValueError: no class embeddings, a feature that is zero or not finite.
    """
    feature_UP, text_KP = features_and_classes(representation)
    membership_UK = torch.softmax(feature_UP @ text_KP.T / temperature, dim=1)
    cluster_U = membership_UK.argmax(dim=1)
    centroids = [
        feature_UP[cluster_U == k].mean(dim=0) if bool((cluster_U == k).any()) else normalize(text_KP[k], dim=0)
        for k in range(len(text_KP))
    ]
    units = representation.tables["units"][["unit", "sample"]]
    table = pd.DataFrame({"unit": units["unit"], "cluster": cluster_U.numpy(), "sample": units["sample"]})
    arrays = {"membership": membership_UK.numpy(), "centroids": torch.stack(centroids).numpy()}
    return Clusters(
        {"units": table},
        {name: array.astype(np.float32) for name, array in arrays.items()},
        meta={"n_clusters": len(text_KP), "temperature": temperature},
    )
