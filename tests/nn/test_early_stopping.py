import numpy as np
import pytest
import torch

from tasks.nn.early_stopping import BestWeights, hold_out


def test_best_weights_and_patience():
    module = torch.nn.Linear(1, 1)
    best = BestWeights(module, patience=2)
    ends = []
    for value, score in enumerate([0.1, 0.5, 0.5, 0.4]):
        torch.nn.init.constant_(module.weight, value)
        ends.append(best.see(score))
    assert ends == [False, False, False, True]
    best.restore()
    assert module.weight.item() == 1  # the first of equal scores


def test_restoring_before_any_score_changes_nothing():
    module = torch.nn.Linear(1, 1)
    before = module.weight.item()
    BestWeights(module, patience=1).restore()
    assert module.weight.item() == before


def test_hold_out():
    rows = np.arange(100, 150)
    fitted, held = hold_out(rows, 0.1, np.random.default_rng(0))
    assert (len(fitted), len(held)) == (45, 5)
    assert np.array_equal(np.sort(np.concatenate([fitted, held])), rows)
    assert [len(part) for part in hold_out(rows[:2], 0.01, np.random.default_rng(0))] == [1, 1]
    assert [len(part) for part in hold_out(rows[:3], 0.99, np.random.default_rng(0))] == [1, 2]
    with pytest.raises(ValueError, match="at least 2"):
        hold_out(rows[:1], 0.1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(rows, 1.0, np.random.default_rng(0))
