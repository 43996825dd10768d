"""Claims: the interval is Student's, the verdict follows from it, and nothing depends on who is called main."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from tasks.claims import Interval, claim_name, claimed_arms, judge, parts_of, t_interval
from tasks.declaration import Claim

HIGHER = Claim("accuracy", "baseline", True)
LOWER = Claim("error", "baseline", False)
values = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=12)


def paired(main: list[float], baseline: list[float]) -> dict[str, dict[int, float]]:
    return {"main": dict(enumerate(main)), "baseline": dict(enumerate(baseline))}


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_interval_is_that_of_scipy(n: int) -> None:
    x = np.random.default_rng(n).normal(0.3, 2.0, n)
    expected = ttest_1samp(x, 0).confidence_interval(0.95)
    interval = t_interval(x)
    assert interval.mean == pytest.approx(x.mean(), abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert interval.n == n


@pytest.mark.parametrize(("n", "factor"), [(3, 2.48), (5, 1.24), (10, 0.72)])
def test_half_width_in_standard_deviations(n: int, factor: float) -> None:
    x = np.random.default_rng(0).normal(size=n)
    half_width = t_interval(x).half_width
    assert half_width is not None
    assert round(half_width / x.std(ddof=1), 2) == factor


def test_one_value_has_no_interval() -> None:
    assert t_interval([0.5]) == Interval(0.5, None, None, 1)
    assert t_interval([0.5]).half_width is None


def test_equal_values_give_an_interval_of_no_width() -> None:
    assert t_interval([0.25, 0.25, 0.25]) == Interval(0.25, 0.25, 0.25, 3)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [1.0, float("inf")], [[1.0], [2.0]]])
def test_interval_of_nothing(bad: list) -> None:
    with pytest.raises(ValueError, match="at least one finite value"):
        t_interval(bad)


# Differences, the verdict on them when higher is better.
VERDICTS = [
    ([0.1, 0.11, 0.12], "holds"),
    ([0.5, 0.01, 0.02], "leans"),
    ([-0.1, 0.3, 0.1], "leans"),
    ([-0.1, -0.11, -0.12], "fails"),
    ([0.1, -0.1], "fails"),
    ([0.0, 0.0, 0.0], "fails"),
    ([0.25, 0.25, 0.25], "holds"),
    ([0.3], "leans"),
    ([0.0], "fails"),
    ([-0.3], "fails"),
]


@pytest.mark.parametrize(("differences", "verdict"), VERDICTS)
def test_verdict(differences: list[float], verdict: str) -> None:
    zeros = [0.0] * len(differences)
    assert judge(HIGHER, paired(differences, zeros))["verdict"] == verdict
    assert judge(LOWER, paired(zeros, differences))["verdict"] == verdict


def test_lower_is_better_turns_the_sign_of_everything() -> None:
    result = judge(LOWER, paired([0.1, 0.2, 0.2], [0.3, 0.3, 0.2]))
    assert result["difference"] == pytest.approx(0.1)
    assert result["low"] < result["difference"] < result["high"]
    assert result["wins"] == "2/3"


def test_interval_that_touches_zero_does_not_hold() -> None:
    """Differences 0 and 2 d: the interval reaches below 0 for any d, and one of two seeds is a tie, not a win."""
    result = judge(HIGHER, paired([0.0, 0.2], [0.0, 0.0]))
    assert (result["verdict"], result["wins"]) == ("leans", "1/2")


def test_pairs_are_made_by_seed_not_by_position() -> None:
    main, baseline = {0: 1.0, 1: 5.0, 2: 9.0}, {2: 8.0, 0: 0.0, 1: 4.0}
    result = judge(HIGHER, {"main": main, "baseline": baseline})
    assert (result["low"], result["difference"], result["high"]) == (1.0, 1.0, 1.0)


def test_only_common_seeds_are_paired() -> None:
    result = judge(HIGHER, {"main": {0: 1.0, 1: 2.0, 7: 100.0}, "baseline": {0: 0.0, 1: 1.5}})
    assert result["wins"] == "2/2"
    assert result["difference"] == pytest.approx(0.75)


def test_one_seed_has_no_interval() -> None:
    result = judge(HIGHER, paired([0.9], [0.5]))
    assert (result["low"], result["high"], result["verdict"], result["wins"]) == (None, None, "leans", "1/1")


def test_name() -> None:
    about_arm = Claim("accuracy", "main", True, arm="trained")
    names = [claim_name(claim) for claim in (HIGHER, about_arm)]
    assert names == ["accuracy > baseline", "accuracy: trained > main"]
    assert [parts_of(name) for name in names] == [("accuracy", "main", "baseline"), ("accuracy", "trained", "main")]


def test_claim_about_another_arm_than_main() -> None:
    found = judge(
        Claim("accuracy", "main", True, arm="trained"), {"main": {0: 0.1, 1: 0.3}, "trained": {0: 0.4, 1: 0.5}}
    )
    assert found["difference"] == pytest.approx(0.25)
    assert found["wins"] == "2/2"


def test_claimed_arms_are_main_and_what_claims_name_once_each() -> None:
    assert claimed_arms([]) == ["main"]
    assert claimed_arms([HIGHER, LOWER, Claim("accuracy", "main", True, arm="trained")]) == [
        "main",
        "baseline",
        "trained",
    ]


@given(values, st.randoms(use_true_random=False))
def test_swapping_main_and_baseline_mirrors_the_interval(main: list[float], random) -> None:
    baseline = [random.uniform(-1e3, 1e3) for _ in main]
    there, back = judge(HIGHER, paired(main, baseline)), judge(HIGHER, paired(baseline, main))
    assert there["difference"] == -back["difference"]
    assert (there["low"], there["high"]) == (-back["high"], -back["low"])
    assert there["low"] <= there["difference"] <= there["high"]
    if there["verdict"] == "holds":
        assert back["verdict"] == "fails"
    wins = [int(result["wins"].split("/")[0]) for result in (there, back)]
    assert sum(wins) == sum(a != b for a, b in zip(main, baseline, strict=True))


@given(values, st.floats(-10, 10))
def test_adding_to_every_value_moves_the_interval_alone(x: list[float], shift: float) -> None:
    one, other = t_interval(x), t_interval([v + shift for v in x])
    assert one.half_width is not None
    assert other.half_width is not None
    assert math.isclose(other.mean, one.mean + shift, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(other.half_width, one.half_width, rel_tol=1e-6, abs_tol=1e-6)
