"""Scores of the columns of a table: how much each says of the label, and of the other columns.

Shape legend: n rows, p columns, F features (columns and crosses), T the top features that are paired.
"""

from functools import partial
from itertools import combinations
from math import comb
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks.artifacts import Dataset, Representation
from tasks.progress import report
from tasks.tables.column_scores import (
    Heuristic,
    Scorer,
    batches,
    choose_crosses,
    column_of,
    crosses_of,
    forest_importances,
    in_parallel,
)
from tasks.tables.information import Noise, cross, dense, mutual_information
from tasks.tables.replicates import replicate_rows

Count = Annotated[int, Field(ge=1)]

MOST_FEATURES = 20_000  # scores of all pairs then take 1.6 GB

# Streams of random numbers by what they are for, so that none is used twice.
WITH_LABEL, REDUNDANCY, SYNERGY, FOREST, CROSSES = range(5)


def feature_scores(
    dataset: Dataset,
    *,
    heuristic: Heuristic = "corrected_mutual_information",
    noise: Noise = "permutation",
    noise_repeats: Count = 5,
    batch_size: Annotated[int, Field(ge=2)] = 16384,
    least_batch: Annotated[int, Field(ge=0)] = 1024,
    subsampling: Count = 1,
    interaction_order: Annotated[int, Field(ge=1, le=4)] = 1,
    max_combinations: Count = 32768,
    pairwise: Annotated[int, Field(ge=0)] = 30,
    synergy: bool = True,
    n_trees: Count = 100,
    processes: Count = 1,
    seed: int,
) -> Representation:
    """Cardinality-aware scores of OutRank (Skrlj & Mramor, RecSys 2023, arXiv 2309.01552), on the labels granted for train.

    A column of many values predicts training labels by chance. The corrected score takes away, for each column, what
    noise with the same value counts shows: s(X, y) = I(X; y) - I(X'; y), X' the column with its rows permuted; it is 0
    on average for any noise column, and may be negative. Rows are taken in batches; a pair's score is the median.

    Parameters
    ----------
    heuristic: "corrected_mutual_information"; "mutual_information" (nats, plain); "adjusted_mutual_information"
        (scikit-learn: exact correction for chance, an equally good choice, slower); "surrogate" (SGD logistic regression on the one-hot column);
        "max_pair_coverage" (largest joint share); "random_forest" (importances; all columns at once).
    noise: "permutation": one random permutation for all values of a column, fresh per column and repeat (default:
        the counts of both columns are kept); "shift": values of rows i + n_y, n_y the count of the row's label, as the
        released code has it.
    noise_repeats: permutations averaged.
    batch_size: rows of a batch. least_batch: a last batch needs more rows. subsampling: use every so-many-th row.
    interaction_order: also score crosses of up to so many columns. max_combinations: crosses scored per batch, those seen
        least often first.
    pairwise: features with the highest scores among which redundancy s(f, g) (and with `synergy` s(f x g, label)) is
        computed; 0: none. Pairs have the corrected score where the heuristic knows no pairs.
    n_trees: trees of the random forest. processes: at work side by side; the result does not depend on them.

    One unit per feature: table `features` (unit, name, cardinality, coverage, order, on the rows used); `embedding` float32 [F, F + 1]: score
    with the label, then scores with the features (0 if not computed; the diagonal is a feature with itself, nats of its entropy
    in the corrected case); `synergy` float32 [F, F]; `plain` float32 [F] mutual information; `members` int32 [F, m] columns
    of each feature, -1 filled. Missing values (code -1) are a value of their own; all missing scores 0.

    Raises ValueError: no `codes`, duplicate names, fewer than 2 rows, one label only, all columns constant, more than 20,000
    features.
    """
    rows = replicate_rows(dataset, "train", seed)[::subsampling]
    names = check_columns(dataset, rows)
    codes_np = np.asarray(dataset.arrays["codes"][rows])
    label_n = dataset.labels("given_label", rows)
    p = len(names)
    count = sum(comb(p, m) for m in range(1, interaction_order + 1))
    if count > MOST_FEATURES:
        raise ValueError(
            f"interaction_order: {interaction_order} makes {count:,} features of {p} columns, {MOST_FEATURES:,} are the most; "
            "lower it or leave columns out"
        )
    crosses = crosses_of(p, interaction_order)
    members: list[tuple[int, ...]] = [(j,) for j in range(p)] + crosses
    scorer = Scorer("corrected_mutual_information" if heuristic == "random_forest" else heuristic, noise, noise_repeats)
    scores: list[list[float]] = [[] for _ in members]
    plain: list[list[float]] = [[] for _ in members]
    seen = np.zeros(len(crosses), dtype=np.int64)
    parts = list(batches(len(rows), batch_size, least_batch))
    varied = np.zeros(p, dtype=bool)
    for b, part in enumerate(parts):
        batch_np, y_n = codes_np[part], dense(label_n[part])[0]
        varied |= (batch_np != batch_np[0]).any(axis=0)
        rng = np.random.default_rng([seed, CROSSES, b])
        chosen = choose_crosses(max_combinations, seen, rng)
        seen[chosen] += 1
        units = [*range(p), *(p + c for c in chosen)]
        work = partial(_with_label, batch_np, y_n, scorer, members, (seed, WITH_LABEL, b))
        for unit, (score, information) in zip(units, in_parallel(work, units, processes), strict=True):
            scores[unit].append(score)
            plain[unit].append(information)
        if heuristic == "random_forest":
            everything = np.stack([column_of(batch_np, members[u]) for u in units], axis=1)
            importances = forest_importances(everything, y_n, n_trees, np.random.default_rng([seed, FOREST, b]))
            for unit, importance in zip(units, importances, strict=True):
                scores[unit][-1] = float(importance)
        report(b + 1, 2 * len(parts))
    if not varied.any():
        raise ValueError(
            f"dataset: all {p} columns are constant on the train rows (first: '{names[0]}'); nothing to rank"
        )
    with_label_F = np.array([np.median(s) if s else 0.0 for s in scores])
    top = np.sort(np.argsort(-with_label_F, kind="stable")[:pairwise])
    pairs = list(combinations(top.tolist(), 2))
    found = np.zeros((len(parts), len(pairs), 2))
    own = np.zeros((len(parts), len(top)))
    for b, part in enumerate(parts):
        batch_np, y_n = codes_np[part], dense(label_n[part])[0]
        columns = {int(f): column_of(batch_np, members[f]) for f in top}
        work = partial(_pair, columns, y_n, scorer, synergy, (seed, b))
        if pairs:
            found[b] = in_parallel(work, pairs, processes)
        own[b] = [scorer.score(columns[f], columns[f], (seed, REDUNDANCY, b, f)) for f in columns]
        report(len(parts) + b + 1, 2 * len(parts))
    embedding = np.zeros((count, count + 1), dtype=np.float32)
    together = np.zeros((count, count), dtype=np.float32)
    embedding[:, 0] = with_label_F
    embedding[top, top + 1] = np.median(own, axis=0) if len(top) else []
    for (f, g), (redundancy, joint) in zip(pairs, np.median(found, axis=0), strict=True):
        embedding[f, g + 1] = embedding[g, f + 1] = redundancy
        together[f, g] = together[g, f] = joint
    known = codes_np >= 0
    table = pd.DataFrame(
        {
            "unit": np.arange(count, dtype=np.int64),
            "name": pd.Series([" x ".join(names[j] for j in m) for m in members], dtype="str"),
            "cardinality": [int(column_of(codes_np, m).max()) + 1 for m in members],
            "coverage": [float(known[:, list(m)].all(axis=1).mean()) for m in members],
            "order": np.array([len(m) for m in members], dtype=np.int64),
        }
    )
    padded = np.full((count, interaction_order), -1, dtype=np.int32)
    for unit, m in enumerate(members):
        padded[unit, : len(m)] = m
    return Representation(
        {"units": table[["unit"]], "features": table},  # pyright: ignore[reportArgumentType]
        {
            "embedding": embedding,
            "synergy": together,
            "plain": np.array([np.median(s) if s else 0.0 for s in plain], dtype=np.float32),
            "members": padded,
            "paired": top.astype(np.int64),
        },
        meta={"heuristic": heuristic, "batches": len(parts)},
    )


def check_columns(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """Names of the coded columns; ValueError naming what makes a ranking impossible."""
    if "codes" not in dataset.arrays or dataset.arrays["codes"].shape[1] == 0:
        raise ValueError(
            "dataset: has no coded column (array 'codes'); read the table with categorical: all, or take step sparse_clicks"
        )
    names = dataset.meta.get("code_names") or [str(j) for j in range(dataset.arrays["codes"].shape[1])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"dataset: column '{twice[0]}' occurs more than once; rename one of them")
    if len(rows) < 2:
        raise ValueError(f"dataset: {len(rows)} train rows; a ranking needs 2 or more")
    if len(np.unique(dataset.labels("given_label", rows))) < 2:
        raise ValueError("dataset: 'given_label' has one value on all train rows, so no column can say anything of it")
    return names


def _with_label(
    batch_np: np.ndarray, y_n: np.ndarray, scorer: Scorer, members: list[tuple[int, ...]], stream: tuple, unit: int
) -> tuple[float, float]:
    x_n = column_of(batch_np, members[unit])
    return scorer.score(x_n, y_n, (*stream, unit)), mutual_information(x_n, y_n)


def _pair(
    columns: dict[int, np.ndarray], y_n: np.ndarray, scorer: Scorer, synergy: bool, stream: tuple, pair: tuple[int, int]
) -> tuple[float, float]:
    """Redundancy of two features, and the score of their cross with the label."""
    f, g = pair
    seed, b = stream
    joint = scorer.score(cross(columns[f], columns[g]), y_n, (seed, SYNERGY, b, f, g)) if synergy else 0.0
    # A surrogate model or a count of joint values says nothing of two columns that is comparable.
    both = (
        scorer
        if "information" in scorer.heuristic
        else Scorer("corrected_mutual_information", "permutation", scorer.repeats)
    )
    return both.score(columns[f], columns[g], (seed, REDUNDANCY, b, f, g)), joint
