import numpy as np
import pytest

from tasks.sequences.rules import Condition, Rule, covers, extract_rule, in_words


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Members have feature 1 at most 0.1 and feature 3 above 0.9; features 0 and 2 say nothing."""
    x = np.random.default_rng(seed).random((3000, 4)).astype(np.float32)
    member = np.zeros(3000, dtype=bool)
    member[:60] = True
    x[:60, 1] *= 0.1
    x[:60, 3] = 0.9 + 0.1 * x[:60, 3]
    x[60:, 3] *= np.where(x[60:, 1] <= 0.1, 0.85, 1)
    return x, member


def test_a_planted_rule_is_found():
    x, member = planted()
    rule = extract_rule(x, member, 3)
    assert {(c.feature, c.op) for c in rule.conditions} == {(1, "<="), (3, ">")}
    assert rule.precision == pytest.approx(1.0)
    assert rule.recall == pytest.approx(1.0)
    covered = covers(rule.conditions, x)
    assert rule.n == covered.sum()
    assert rule.precision == (covered & member).sum() / covered.sum()


def test_needless_conditions_are_dropped():
    rng = np.random.default_rng(0)
    x = rng.random((500, 3)).astype(np.float32)
    member = x[:, 0] > 0.8
    rule = extract_rule(x, member, 3)
    assert [(c.feature, c.op) for c in rule.conditions] == [(0, ">")]


def test_features_that_say_nothing_give_an_imprecise_rule_or_none():
    rng = np.random.default_rng(0)
    member = np.zeros(1000, dtype=bool)
    member[:30] = True
    assert extract_rule(rng.random((1000, 3)).astype(np.float32), member, 3).precision < 0.8
    assert extract_rule(np.ones((1000, 3), np.float32), member, 3).conditions == []


def test_words():
    rule = Rule([Condition(0, "<=", 30.0), Condition(1, ">", 0.5499)], 41, 0.951, 0.5)
    assert in_words(rule, ["account age", "gift-card share"]) == (
        "account age <= 30 AND gift-card share > 0.55 (n = 41, precision 0.95)"
    )
