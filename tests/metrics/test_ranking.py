from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tasks.metrics.ranking import average_precision_at, true_positive_rates


def test_by_hand() -> None:
    relevant = np.array([1, 0, 1, 0, 1], dtype=bool)
    assert average_precision_at(relevant, np.array([5.0, 4, 3, 2, 1]), 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision_at(~relevant, np.array([5.0, 4, 3, 2, 1]), 1) == 0
    assert average_precision_at(np.zeros(5, dtype=bool), np.arange(5.0), 3) == 0


def test_over_all_ranks_it_is_the_average_precision_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    relevant, score = rng.random(60) < 0.3, rng.normal(size=60)
    assert average_precision_at(relevant, score, 60) == pytest.approx(average_precision_score(relevant, score))


def test_the_area_under_the_read_off_curve() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random(500) < 0.3
    score, grid = rng.normal(size=500) + relevant, np.linspace(0, 1, 2001)
    area = np.trapezoid(true_positive_rates(relevant, score, grid), grid)
    assert area == pytest.approx(roc_auc_score(relevant, score), abs=0.005)
