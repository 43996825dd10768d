"""Click streams before payments: ordinary customers, scripted groups, and rings of scripted fraud.

Shape legend: N transactions, T events of a stream, F features.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset

CHAINS = 4  # kinds of ordinary customers
SHORTEST, LONGEST = 8, 39  # events of an ordinary stream
SCRIPT = (10, 24)  # events of a script
GAP_SPREAD = 0.15  # of a script's gaps, in log
EDIT = 0.05  # rate of each of: events dropped, replaced, inserted
ISOLATED = 0.01  # share of transactions that are fraud of nobody's script
SHIFTED = 2  # features that a ring gives away
UNUSUAL = 0.03  # its values there lie within this share of ordinary customers, at either end
FEATURES = [
    "account age (days)",
    "gift-card share",
    "cards on device",
    "accounts at address",
    "failed logins",
    "hours since password change",
    "ship-to-bill distance (km)",
    "items in basket",
    "events in stream",
    "duration (s)",
]
COUNTS = [2, 3, 4, 7]
AS_IT_IS = ["gift-card share"]  # a share; all others are amounts and counts

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def clickstream_fraud(
    *,
    n: Annotated[int, Field(ge=100)] = 6000,
    events: Annotated[int, Field(ge=2, le=30000)] = 24,
    max_length: Count = 40,
    rings: Annotated[int, Field(ge=0)] = 12,
    benign_scripts: Annotated[int, Field(ge=0)] = 4,
    group_size: Annotated[list[Count], Field(min_length=2, max_length=2)] = [18, 59],  # noqa: B006 (a default)
    known_bad: Share = 0.3,
    days: Annotated[int, Field(ge=2)] = 14,
    rule_days: Count = 4,
    seed: int = 0,
) -> Dataset:
    """Synthetic transactions in the setting of FinDeepBehaviorCluster (Min et al., 2021, arXiv 2101.04285), whose data is private.

    An ordinary stream comes from one of 4 Markov chains (Dirichlet(0.25) rows), 8 to 39 events, lognormal gaps. A
    ring of fraud follows one script of 10 to 24 events with its own gap at each step (standard deviation 0.15 in log);
    5 % of events are dropped, 5 % replaced, 5 % inserted. Benign scripted groups do the same and are never fraud. 1 % of
    transactions are fraud with an ordinary stream. Of 8 features with ordinary distributions each ring keeps two within the
    range of the lowest or highest 3 % of ordinary customers; two more are the stream's length and duration. Amounts are lognormal.

    Parameters
    ----------
    n: transactions. events: kinds of events, ids 1..events (0 is padding). max_length: events kept of a stream, the last ones.
    rings, benign_scripts: scripted groups, fraudulent and not; group_size: least and most transactions of one.
    known_bad: share of fraud that is already known at clustering time.
    days: days that the transactions span, evenly; the last rule_days of them are split `test`, before is `train`.
    seed: seed of everything.

    Returns `events` int16 [N, T], `gaps` float32 [N, T] (seconds since the previous event; padding at the end is 0), `features`
    float32 [N, F], `amount` float32 [N], `day` int64 [N]; table `samples` with `label` (1 fraud) and `given_label` (1 for
    known fraud of split train, else <NA>); truth: `group` int64 [N] (0 no script, 1.. rings, then benign scripts). meta
    `feature_names`, `log_features` (those that are amounts or counts), `n_events`.

    Raises ValueError: rule_days not below days; groups and isolated fraud larger than n; group_size that falls.
    """
    if rule_days >= days:
        raise ValueError(f"rule_days = {rule_days} must be below days = {days}")
    if group_size[0] > group_size[1]:
        raise ValueError(f"group_size must not fall, got {group_size}")
    structure, content, known = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    sizes = structure.integers(group_size[0], group_size[1] + 1, size=rings + benign_scripts)
    isolated = round(ISOLATED * n)
    if sizes.sum() + isolated > n:
        raise ValueError(
            f"n = {n} is less than scripted groups ({sizes.sum()}) and isolated fraud ({isolated}); raise n"
        )
    group_N = np.zeros(n, dtype=np.int64)
    group_N[: sizes.sum()] = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    fraud_N = (group_N > 0) & (group_N <= rings)
    fraud_N[sizes.sum() : sizes.sum() + isolated] = True
    order = structure.permutation(n)
    group_N, fraud_N = group_N[order], fraud_N[order]

    chains = structure.dirichlet(np.full(events, 0.25), size=(CHAINS, events)).cumsum(axis=2)
    scripts = [_script(events, structure) for _ in sizes]
    streams = [
        _follow(*scripts[g - 1], events, content) if g else _wander(chains[content.integers(CHAINS)], content)  # pyright: ignore[reportCallIssue]
        for g in group_N
    ]
    events_NT, gaps_NT = np.zeros((n, max_length), np.int16), np.zeros((n, max_length), np.float32)
    for row, (ids, gaps) in enumerate(streams):
        ids, gaps = ids[-max_length:], gaps[-max_length:].copy()
        gaps[0] = 0
        events_NT[row, : len(ids)], gaps_NT[row, : len(ids)] = ids, gaps
    customers_NF = _ordinary_features(n, content)
    for ring in range(1, rings + 1):
        members = np.flatnonzero(group_N == ring)
        for f in structure.choice(customers_NF.shape[1], SHIFTED, replace=False):
            # At an end of what ordinary customers show: experts choose features because bad cases stand out in them.
            depth = structure.uniform(0, UNUSUAL, len(members))
            # Counts stand out upwards only: their lowest value is the commonest.
            ranks = depth if structure.random() < 0.5 and f not in COUNTS else 1 - depth
            customers_NF[members, f] = np.quantile(customers_NF[group_N == 0, f], ranks, method="nearest")
    length_N = (events_NT > 0).sum(axis=1)
    features_NF = np.column_stack([customers_NF, length_N, gaps_NT.sum(axis=1)])
    day_N = content.integers(days, size=n)
    train_N = day_N < days - rule_days
    known_N = fraud_N & train_N & (known.random(n) < known_bad)
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            "split": pd.Series(np.where(train_N, "train", "test"), dtype="str"),
            "label": pd.array(fraud_N.astype(np.int64), dtype="Int64"),
            "given_label": pd.array(np.where(known_N, 1, None), dtype="Int64"),  # pyright: ignore[reportArgumentType, reportCallIssue]
        }
    )
    arrays = {
        "events": events_NT,
        "gaps": gaps_NT,
        "features": features_NF.astype(np.float32),
        "amount": content.lognormal(4.0, 0.8, n).astype(np.float32),
        "day": day_N.astype(np.int64),
        "group": group_N,
    }
    meta = {
        "class_names": ["legitimate", "fraud"],
        "feature_names": FEATURES,
        "log_features": [name for name in FEATURES if name not in AS_IT_IS],
        "n_events": events,
        "truth": ["group"],
    }
    return Dataset({"samples": samples}, arrays, meta=meta)


def _ordinary_features(n: int, rng: np.random.Generator) -> np.ndarray:
    """The features of ordinary customers but for those of the stream, float64 [N, F - 2]."""
    return np.column_stack(
        [
            rng.lognormal(5.5, 1.2, n),
            rng.beta(1, 8, n),
            1 + rng.poisson(0.6, n),
            1 + rng.poisson(0.8, n),
            rng.poisson(0.4, n),
            rng.lognormal(6.0, 1.5, n),
            rng.lognormal(2.5, 1.5, n),
            1 + rng.poisson(1.5, n),
        ]
    )


def _wander(steps: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An ordinary stream: event ids and gaps. `steps` are cumulative transition probabilities [events, events]."""
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    draws = rng.random(length)
    ids = np.empty(length, dtype=np.int64)
    state = int(rng.integers(len(steps)))
    for t in range(length):
        ids[t] = state + 1
        state = min(int(np.searchsorted(steps[state], draws[t], side="right")), len(steps) - 1)
    return ids, rng.lognormal(2.0, 1.0, length)


def _script(events: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    length = int(rng.integers(SCRIPT[0], SCRIPT[1] + 1))
    return rng.integers(1, events + 1, length), rng.lognormal(2.0, 1.0, length)


def _follow(
    script: np.ndarray, gaps: np.ndarray, events: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A stream that follows a script with slips; the first event always stays, so that none is empty."""
    gaps = gaps * rng.lognormal(0.0, GAP_SPREAD, len(gaps))
    ids = np.where(rng.random(len(script)) < EDIT, rng.integers(1, events + 1, len(script)), script)
    kept = rng.random(len(script)) >= EDIT
    kept[0] = True
    ids, gaps = ids[kept], gaps[kept]
    places = np.flatnonzero(rng.random(len(ids)) < EDIT)
    extra = rng.integers(1, events + 1, len(places))
    return np.insert(ids, places, extra), np.insert(gaps, places, rng.lognormal(2.0, 1.0, len(places)))
