"""Hyper-parameters of novel class discovery chosen without novel labels: hide known classes and try to find them.

Troisemaine et al., arXiv 2311.05440, section on hyper-parameter optimisation. The number of hidden classes and of
draws is not given there; about half of the known classes and ten draws are chosen here.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from tasks import progress
from tasks.curves import curve_table

Candidate = dict[str, Any]


class Tuning(BaseModel):
    """Random search: `trials` candidates, each scored on `folds` draws of hidden classes (`hidden`: their share)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    folds: Annotated[int, Field(ge=1)] = 10
    trials: Annotated[int, Field(ge=1)] = 100
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.5


def hidden_class_draws(classes: int, settings: Tuning, rng: np.random.Generator) -> list[np.ndarray]:
    """Sorted int64 indices of the classes hidden in each fold; two or more are hidden, two or more stay known.

    Raises ValueError for fewer than four known classes: one hidden class is found by anyone.
    """
    if classes < 4:
        raise ValueError(
            f"tune: {classes} known classes cannot be split into two hidden and two known; give parameters"
        )
    hidden = min(max(int(settings.hidden * classes), 2), classes - 2)
    return [np.sort(rng.choice(classes, hidden, replace=False)) for _ in range(settings.folds)]


def search(
    settings: Tuning,
    classes: int,
    draw: Callable[[np.random.Generator], Candidate],
    score: Callable[[Candidate, np.ndarray, np.random.SeedSequence], float],
    seed: np.random.SeedSequence,
) -> tuple[Candidate, pd.DataFrame]:
    """The candidate of best mean score over the folds, and the curve `tuning_by_trial` (trial from 1, mean score).

    `score(candidate, hidden_classes, seed)` trains on what is not hidden. All candidates meet the same folds with the
    same seeds, so that they differ in nothing else. The first of equals wins.
    """
    fold_stream, candidate_stream, score_stream = seed.spawn(3)
    folds = hidden_class_draws(classes, settings, np.random.default_rng(fold_stream))
    score_seeds = [int(s.generate_state(1)[0]) for s in score_stream.spawn(len(folds))]
    rng = np.random.default_rng(candidate_stream)
    candidates = [draw(rng) for _ in range(settings.trials)]
    means = []
    for trial, candidate in enumerate(candidates):
        scores = [
            score(candidate, hidden, np.random.SeedSequence(s)) for hidden, s in zip(folds, score_seeds, strict=True)
        ]
        means.append(float(np.mean(scores)))
        progress.report(trial + 1, settings.trials, accuracy=max(means))
    best = int(np.argmax(means))
    return candidates[best], curve_table("tuning_by_trial", range(1, len(means) + 1), means)
