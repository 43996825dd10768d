"""Classes as text embeddings.

Shape legend: K classes, P projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.vision_language.clip_model import Clip


def class_embeddings(clip: Clip, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Mean embedding float32 [K, P] of each class over the templates, `{}` standing for its name.

    The prompts are not normalised before the mean, nor is the mean: that is left to the user.

    Raises ValueError: fewer than two classes, a name twice, a template without `{}`.
    """
    if len(names) < 2:
        raise ValueError(f"class_names: {len(names)} class; at least two are needed")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"class_names: '{twice[0]}' occurs twice; classes must have names of their own")
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"templates: '{template}' must hold {{}} once, where the class is named")
    plain = [name.replace("_", " ") for name in names]
    texts = [template.format(name) for name in plain for template in templates]
    return clip.texts(texts).reshape(len(names), len(templates), -1).mean(dim=1).numpy()
