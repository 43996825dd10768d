"""Claims: is the method better than a baseline arm, by how much, and how sure are we?

Paired over seeds: same data, same seed, method minus baseline. The interval is the paired t-interval, so it
speaks about training randomness on one fixed data set, not about other data sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.params import MAIN

if TYPE_CHECKING:
    from tasks.declaration import Claim

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Mean of n values with its 95 % t-interval; `low` and `high` are None for n = 1."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.mean


def t_interval(values: list[float] | np.ndarray) -> Interval:
    """Student's t-interval of the mean. A constant sample gives an interval of width 0."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ValueError(f"t_interval needs at least one finite value, got {values!r}")
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, None, None, 1)
    from scipy.special import stdtrit  # a quarter of a second, which commands that only read need not spend

    half = float(stdtrit(len(x) - 1, (1 + CONFIDENCE) / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half, len(x))


def claim_name(claim: Claim) -> str:
    """How results name a claim: `metric > baseline arm`, or `metric: arm > other arm` if it is not about main."""
    return f"{claim.metric} > {claim.beats}" if claim.arm == MAIN else f"{claim.metric}: {claim.arm} > {claim.beats}"


def parts_of(name: str) -> tuple[str, str, str]:
    """Metric, arm and other arm of a claim's name."""
    left, _, beats = name.partition(" > ")
    metric, _, arm = left.partition(": ")
    return metric, arm or MAIN, beats


def claimed_arms(claims: list[Claim]) -> list[str]:
    """Main and every arm that a claim names, in their order."""
    return list(dict.fromkeys([MAIN, *(arm for claim in claims for arm in (claim.arm, claim.beats))]))


UNMEASURED = {"difference": None, "low": None, "high": None, "wins": "0/0", "verdict": "unmeasured"}


def judge(claim: Claim, values: dict[str, dict[int, float]]) -> dict[str, Any]:
    """Verdict on a claim. `values[arm][seed]` is the metric.

    `holds`: the interval lies above 0; `leans`: the mean does, the interval does not (or there is one seed);
    `fails`: the mean is not above 0. Differences are signed so that positive means that the claim is right.
    """
    sign = 1.0 if claim.higher_is_better else -1.0
    seeds = sorted(set(values[claim.arm]) & set(values[claim.beats]))
    differences = [sign * (values[claim.arm][s] - values[claim.beats][s]) for s in seeds]
    interval = t_interval(differences)
    if interval.mean <= 0:
        verdict = "fails"
    elif interval.low is not None and interval.low > 0:
        verdict = "holds"
    else:
        verdict = "leans"
    return {
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "wins": f"{sum(d > 0 for d in differences)}/{interval.n}",
        "verdict": verdict,
    }
