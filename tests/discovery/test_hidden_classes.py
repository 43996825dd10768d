import numpy as np
import pytest

from tasks.discovery.hidden_classes import Tuning, hidden_class_draws, search


@pytest.mark.parametrize(("classes", "hidden"), [(4, 2), (5, 2), (10, 5), (19, 9)])
def test_about_half_is_hidden(classes, hidden):
    draws = hidden_class_draws(classes, Tuning(folds=20), np.random.default_rng(0))
    assert len(draws) == 20
    for draw in draws:
        assert len(set(draw)) == len(draw) == hidden
        assert 0 <= draw.min() <= draw.max() < classes
    assert len({tuple(d) for d in draws}) > 1


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_two_are_hidden_and_two_stay(share):
    draws = hidden_class_draws(6, Tuning(folds=3, hidden=share), np.random.default_rng(0))
    assert {len(d) for d in draws} == {2 if share < 0.5 else 4}


def test_three_known_classes_are_too_few():
    with pytest.raises(ValueError, match="3 known classes"):
        hidden_class_draws(3, Tuning(), np.random.default_rng(0))


def test_the_best_mean_over_folds_wins_and_folds_are_shared():
    seen = {}

    def score(candidate, hidden, seed):
        seen.setdefault(candidate["x"], []).append((tuple(hidden), seed.entropy))
        return -abs(candidate["x"] - 0.3)

    tuning = Tuning(folds=3, trials=20)
    best, curve = search(tuning, 6, lambda rng: {"x": rng.uniform()}, score, np.random.SeedSequence(0))
    assert best["x"] == min(seen, key=lambda x: abs(x - 0.3))
    assert len(seen) == 20
    assert len({tuple(folds) for folds in seen.values()}) == 1
    assert curve["y"].max() == pytest.approx(-abs(best["x"] - 0.3))


def test_seed():
    runs = [
        search(
            Tuning(folds=1, trials=5),
            4,
            lambda r: {"x": r.uniform()},
            lambda c, h, s: c["x"],
            np.random.SeedSequence(s),
        )
        for s in (0, 0, 1)
    ]
    assert runs[0][0] == runs[1][0] != runs[2][0]
