"""No training: the pseudo-labels' own logits are the classifier."""

import numpy as np
import pandas as pd

from tasks.artifacts import Model, PseudoLabels


def cache_classifier(pseudo_labels: PseudoLabels) -> Model:
    """The training-free classifier of TFUP (arXiv 2404.16339): zero-shot logits plus the votes of the cache.

    Returns table `predictions` (sample, prediction) of all units and `logits` float32 [U, K].

    Raises ValueError: pseudo-labels without `logits`.
    """
    if "logits" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: no 'logits'; use the pseudo-label step representative_cache")
    units = pseudo_labels.tables["units"]
    table = pd.DataFrame({"sample": units["sample"], "prediction": units["pseudo_label"]})
    return Model({"predictions": table}, {"logits": np.array(pseudo_labels.arrays["logits"])})
