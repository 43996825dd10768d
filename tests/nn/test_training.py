import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tasks import progress
from tasks.nn.training import Optimizer, build_optimizer, learning_rate, train


def squares(parameter, targets):
    return lambda rows, step: (parameter - targets[rows]).square().mean()


def run(seed=0, optimizer=None, **options):
    parameter = torch.nn.Parameter(torch.zeros(1))
    targets = torch.arange(10, dtype=torch.float32)[:, None]
    settings = {"rows": np.arange(10), "batch_size": 3, "epochs": 4, **options}
    curve = train(
        squares(parameter, targets),
        [parameter],
        optimizer=optimizer or Optimizer(name="sgd", lr=0.1, momentum=0.0),
        rng=np.random.default_rng(seed),
        **settings,
    )
    return parameter.item(), curve


def test_one_full_batch_step_is_gradient_descent():
    parameter, curve = run(batch_size=10, epochs=1)
    assert parameter == pytest.approx(0.1 * 2 * 4.5)
    assert curve.to_dict("list") == {"curve": ["loss"], "x": [1.0], "y": [pytest.approx(28.5)]}


def test_converges_and_leaves_the_curve():
    parameter, curve = run(epochs=200, optimizer=Optimizer(name="sgd", lr=0.05, momentum=0.0, schedule="cosine"))
    assert parameter == pytest.approx(4.5, abs=0.2)
    assert len(curve) == 200
    assert curve["y"].iloc[-1] < curve["y"].iloc[0]


def test_every_row_once_per_epoch_in_random_order():
    seen: list[list[int]] = []
    parameter = torch.nn.Parameter(torch.zeros(1))

    def loss(rows, step):
        seen.append(rows.tolist())
        return parameter.square().sum()

    options = {"rows": np.array([3, 5, 7, 9, 11]), "batch_size": 2, "optimizer": Optimizer()}
    train(loss, [parameter], epochs=2, rng=np.random.default_rng(0), **options)
    assert [len(batch) for batch in seen] == [2, 2, 1] * 2
    epochs = [[row for batch in seen[i : i + 3] for row in batch] for i in (0, 3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [3, 5, 7, 9, 11]
    assert epochs[0] != epochs[1]
    seen.clear()
    train(loss, [parameter], epochs=1, drop_last=True, rng=np.random.default_rng(0), **options)
    assert [len(batch) for batch in seen] == [2, 2]
    seen.clear()
    # A batch larger than the data is not dropped: nothing would be trained.
    options["batch_size"] = 8
    train(loss, [parameter], epochs=1, drop_last=True, rng=np.random.default_rng(0), **options)
    assert [len(batch) for batch in seen] == [5]


def test_hooks_and_progress():
    events: list[tuple] = []
    progress.listen(lambda step, total, values: events.append(("report", step, total, sorted(values))))
    try:
        run(
            batch_size=5,
            epochs=2,
            before_epoch=lambda epoch: events.append(("epoch", epoch)),
            after_step=lambda step, total: events.append(("step", step, total)),
        )
    finally:
        progress.listen(None)
    assert events == [
        ("epoch", 0), ("step", 1, 4), ("step", 2, 4), ("report", 1, 2, ["loss"]),
        ("epoch", 1), ("step", 3, 4), ("step", 4, 4), ("report", 2, 2, ["loss"]),
    ]  # fmt: skip


def test_an_epoch_may_be_the_last():
    """The learning rate goes on as planned: ten epochs cut after three are not three epochs."""
    optimizer, seen = Optimizer(name="sgd", lr=0.1, momentum=0.0, schedule="cosine"), []
    cut, curve = run(epochs=10, optimizer=optimizer, after_epoch=lambda epoch: seen.append(epoch) or epoch == 2)
    assert seen == [0, 1, 2]
    whole, expected = run(epochs=10, optimizer=optimizer, after_epoch=lambda epoch: False)
    assert curve.equals(expected.head(3))
    assert cut not in (whole, run(epochs=3, optimizer=optimizer)[0])


def test_seed():
    assert run(seed=0)[0] == run(seed=0)[0]
    assert run(seed=0)[0] != run(seed=1)[0]


def test_no_epochs_train_nothing():
    parameter, curve = run(epochs=0)
    assert parameter == 0
    assert len(curve) == 0


def test_bad_input_and_a_loss_that_is_not_finite():
    with pytest.raises(ValueError, match="batch_size"):
        run(batch_size=0)
    with pytest.raises(ValueError, match="no training rows"):
        run(rows=np.arange(0))
    with pytest.raises(FloatingPointError, match="lower optimizer"):
        run(epochs=300, optimizer=Optimizer(name="sgd", lr=100.0, momentum=0.0))


def test_clipping_bounds_the_step():
    parameter, _ = run(batch_size=10, epochs=1, optimizer=Optimizer(name="sgd", lr=0.1, momentum=0.0, clip_norm=0.5))
    assert parameter == pytest.approx(0.05, rel=1e-4)


def test_cosine_is_torchs():
    settings, total = Optimizer(lr=0.3, schedule="cosine"), 20
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for step in range(total):
        assert learning_rate(settings, step, total) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_warmup_is_linear_then_the_schedule_starts_at_the_top():
    settings = Optimizer(lr=1.0, schedule="cosine", warmup=0.25)
    rates = [learning_rate(settings, step, 20) for step in range(20)]
    np.testing.assert_allclose(rates[:6], [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert (np.diff(rates[5:]) < 0).all()
    constant = [learning_rate(Optimizer(lr=1.0, warmup=0.25), step, 8) for step in range(8)]
    np.testing.assert_allclose(constant, [0.5, 1.0, 1, 1, 1, 1, 1, 1])


def test_one_cycle():
    settings = Optimizer(lr=1.0, schedule="one_cycle", warmup=0.25)
    rates = [learning_rate(settings, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[25] == pytest.approx(1.0) == max(rates)
    assert rates[100] == pytest.approx(1e-4)
    assert learning_rate(Optimizer(lr=1.0, schedule="one_cycle"), 0, 10) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimizers(name, kind):
    optimizer = build_optimizer([torch.nn.Parameter(torch.zeros(1))], Optimizer(name=name, lr=0.2, weight_decay=0.3))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.3)
    assert group.get("momentum", 0.9) == 0.9


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"warmup": 1.0}, {"momentum": 1.0}, {"name": "lion"}, {"rate": 1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValidationError):
        Optimizer(**wrong)
