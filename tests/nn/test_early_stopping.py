import numpy as np
import pytest
import torch

from tasks.nn.early_stopping import BestWeights, hold_out, train_until
from tasks.nn.training import Optimizer, train


def problem() -> tuple[torch.nn.Parameter, torch.Tensor]:
    x = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.Parameter(torch.zeros(3)), x


def run(epochs: int, stop_after: int | None, **hooks):
    weight, x = problem()
    curve = train_until(
        lambda rows, step: (x[rows] - weight).square().mean(),
        [weight],
        rows=np.arange(23),
        batch_size=5,
        epochs=epochs,
        optimizer=Optimizer(lr=0.05),
        rng=np.random.default_rng(0),
        after_epoch=lambda epoch: epoch == stop_after,
        **hooks,
    )
    return weight.detach(), curve


def test_without_a_stop_it_is_the_training_loop():
    weight, x = problem()
    expected = train(
        lambda rows, step: (x[rows] - weight).square().mean(),
        [weight],
        rows=np.arange(23),
        batch_size=5,
        epochs=4,
        optimizer=Optimizer(lr=0.05),
        rng=np.random.default_rng(0),
    )
    got, curve = run(4, None)
    assert torch.equal(got, weight.detach())
    assert np.allclose(curve["y"], expected["y"])
    assert curve["x"].tolist() == [1, 2, 3, 4]


def test_it_stops_after_an_epoch():
    stopped, curve = run(10, 3)
    short, expected = run(3, None)
    assert torch.equal(stopped, short)
    assert curve.equals(expected)
    assert len(run(0, None)[1]) == 0


def test_every_row_is_seen_right_after_its_update():
    seen = []
    run(2, None, after_batch=lambda rows: seen.append(rows.numpy()))
    assert [len(rows) for rows in seen] == [5, 5, 5, 5, 3] * 2
    assert np.array_equal(np.sort(np.concatenate(seen[:5])), np.arange(23))


def test_a_loss_that_is_not_finite_is_an_error():
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        train_until(
            lambda rows, step: weight.sum() * torch.nan,
            [weight],
            rows=np.arange(4),
            batch_size=2,
            epochs=1,
            optimizer=Optimizer(),
            rng=np.random.default_rng(0),
            after_epoch=lambda epoch: False,
        )


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
