"""Images, augmented views and class prompts in CLIP's space.

Shape legend: U units (images), V views, K classes, P projection.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks import progress
from tasks.artifacts import Checkpoint, Dataset, Representation
from tasks.nn.encoder import image_tensor
from tasks.tables.replicates import replicate_rows, splits_of
from tasks.vision.multi_crop import random_crops
from tasks.vision_language.clip_model import Pool, load_clip
from tasks.vision_language.prompts import class_embeddings

Share = Annotated[float, Field(gt=0, le=1)]


def clip(
    dataset: Dataset,
    checkpoint: Checkpoint,
    *,
    pool: Pool = "mean",
    templates: Annotated[list[str], Field(min_length=1)] = ["a photo of a {}"],  # noqa: B006 (only read)
    augmented_views: Annotated[int, Field(ge=0)] = 0,
    crop: Annotated[list[Share], Field(min_length=2, max_length=2)] = [0.08, 1.0],  # noqa: B006
    batch_size: Annotated[int, Field(ge=1)] = 256,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Representation:
    """Frozen features of a CLIP checkpoint (Radford et al., ICML 2021, arXiv 2103.00020) for images and classes.

    Parameters
    ----------
    pool: an image's embedding is the `mean` of its patches' or that of the class token (`cls`), as it was trained.
    templates: prompts with `{}` for the class's name; a class's text embedding is the mean of its prompts', of which
        none is normalised before.
    augmented_views: random resized crops of each image, mirrored half of the time, whose features are stored too.
    crop: [least, most] share of the image's area that such a view shows.
    batch_size, device: of the forward passes.

    A data set of several replicates is cut down to the seed's own. Returns table `units`, one row per image; `embedding`
    float32 [U, P], `text` float32 [K, P] and, if asked for, `views` float32 [U, V, P]; nothing is normalised. meta
    `logit_scale`: factor on cosines in CLIP's logits, as trained (100 for the public ones).

    Raises ValueError: no images, a checkpoint without both towers and tokenizer, fewer than two classes, a class's name
    twice, a template without place for it, `crop` upside down.
    """
    if "images" not in dataset.arrays:
        raise ValueError("dataset: array 'images' is needed and absent; use an image data set")
    if crop[0] > crop[1]:
        raise ValueError(f"crop: {crop} must be [low, high]")
    learner = load_clip(checkpoint, device)
    text_KP = class_embeddings(learner, dataset.meta.get("class_names") or [], templates)
    rows = np.sort(np.concatenate([replicate_rows(dataset, split, seed) for split in splits_of(dataset)]))
    generator = torch.Generator().manual_seed(seed)
    size = learner.model.config.vision_config.image_size
    embedding, views = [], []
    for start in range(0, len(rows), batch_size):
        images_BHWC = image_tensor(dataset.arrays["images"][rows[start : start + batch_size]])
        with torch.no_grad():
            embedding.append(learner.images(learner.pixels(images_BHWC), pool).float().cpu())
            for _ in range(augmented_views):
                view = random_crops(images_BHWC.permute(0, 3, 1, 2), size, crop, 0.0, generator).permute(0, 2, 3, 1)
                views.append(learner.images(learner.pixels(view), pool).float().cpu())
        progress.report(min(start + batch_size, len(rows)), len(rows))
    arrays = {"embedding": torch.cat(embedding).numpy(), "text": text_KP}
    if augmented_views:
        batches = [torch.stack(views[i : i + augmented_views], 1) for i in range(0, len(views), augmented_views)]
        arrays["views"] = torch.cat(batches).numpy()
    units = pd.DataFrame({"unit": np.arange(len(rows), dtype=np.int64), "sample": rows.astype(np.int64)})
    return Representation({"units": units}, arrays, meta={"logit_scale": learner.model.logit_scale.exp().item()})
