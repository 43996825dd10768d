"""What `evaluate` says about a method as a whole: means with intervals, verdicts, and figures across arms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.artifacts import Metrics
from tasks.claims import UNMEASURED, claim_name, claimed_arms, judge, t_interval
from tasks.declaration import Method, Sweep, parameter_at
from tasks.figures import COLOURS, png, subplots
from tasks.params import MAIN

AllMetrics = dict[str, dict[int, Metrics]]
RESULTS = Path("results")


def write_summary(method: Method, profile: str, folder: Path) -> None:
    """Add `summary/` to a filled `evaluate` folder, and write results/<method>.json and .csv."""
    metrics = load_metrics(method, folder)
    result, summary = summarise(method, profile, metrics)
    summary.save(folder / "summary")
    _write(RESULTS / f"{method.name}.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    _write(RESULTS / f"{method.name}.csv", long_table(metrics).to_csv(index=False))


def load_metrics(method: Method, folder: Path) -> AllMetrics:
    """`metrics[arm][seed]` of an `evaluate` folder."""
    return {
        arm: {seed: Metrics.load(folder / arm / f"seed-{seed}") for seed in method.seeds}
        for arm in method.arms("evaluate")
    }


def long_table(metrics: AllMetrics) -> pd.DataFrame:
    """Columns arm, seed, metric, value: every number of a method."""
    rows = [
        (arm, seed, metric, value)
        for arm, seeds in metrics.items()
        for seed, one in seeds.items()
        for metric, value in sorted(one.values.items())
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "metric", "value"])


def summarise(method: Method, profile: str, metrics: AllMetrics) -> tuple[dict[str, Any], Metrics]:
    """The JSON of results/<method>.json, small enough for `dvc metrics`, and an artifact with figures across arms."""
    values = {
        arm: {metric: {seed: m.values[metric] for seed, m in seeds.items()} for metric in common_metrics(seeds)}
        for arm, seeds in metrics.items()
    }
    claims = {}
    for claim in method.claims:
        per_arm = {arm: by_metric[claim.metric] for arm, by_metric in values.items() if claim.metric in by_metric}
        # A data set may lack the truth that a metric needs (no instances, say): that is no fault of the claim.
        measured = {claim.arm, claim.beats} <= set(per_arm)
        claims[claim_name(claim)] = judge(claim, per_arm) if measured else UNMEASURED
    means = {metric: t_interval(list(by_seed.values())).mean for metric, by_seed in values[MAIN].items()}
    result = {"profile": profile, "data": method.data, "seeds": method.seeds, "claims": claims, MAIN: means}
    return result, Metrics(meta={"values": {}}, figures=figures(method, metrics))


def common_metrics(seeds: dict[int, Metrics]) -> list[str]:
    """Metrics that every seed reports, in order."""
    return sorted(set.intersection(*(set(m.values) for m in seeds.values())))


def figures(method: Method, metrics: AllMetrics) -> dict[str, bytes]:
    """`arms` (every metric, bars with seeds), one overlay per curve, one figure per declared sweep."""
    swept = {arm for sweep in method.sweeps for arm in _arms_of(method, sweep)} - set(claimed_arms(method.claims))
    shown = {arm: seeds for arm, seeds in metrics.items() if arm not in swept}
    result = {"arms": _draw_arms(shown)}
    for name in sorted(
        {c for seeds in shown.values() for m in seeds.values() for c in set(m.tables["curves"]["curve"])}
    ):
        result[f"curve-{name.replace('/', '-')}"] = _draw_curve(name, shown)
    for sweep in method.sweeps:
        result[f"sweep-{sweep.metric}-against-{sweep.against}"] = _draw_sweep(method, sweep, metrics)
    return result


def _draw_arms(metrics: AllMetrics) -> bytes:
    names = common_metrics(metrics[MAIN])
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = subplots(
        rows, columns, figsize=(2.9 * columns, 0.5 + (0.55 + 0.3 * len(metrics)) * rows), squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        for index, (arm, seeds) in enumerate(metrics.items()):
            if name not in common_metrics(seeds):
                continue
            points = [m.values[name] for m in seeds.values()]
            interval = t_interval(points)
            axis.barh(index, interval.mean, color=COLOURS[0] if arm == MAIN else "#c8ccd0", height=0.7)
            axis.plot(points, np.full(len(points), index), ".", color="black", alpha=0.45, markersize=3.5)
            if interval.half_width is not None:
                axis.errorbar(interval.mean, index, xerr=interval.half_width, color="black", capsize=2, linewidth=1)
        lowest = min(m.values[name] for seeds in metrics.values() for m in seeds.values() if name in m.values)
        # Bars from zero make close arms look equal; start a little below the lowest seed instead.
        highest = max(m.values[name] for seeds in metrics.values() for m in seeds.values() if name in m.values)
        margin = 0.15 * (highest - lowest) or 0.01
        axis.set_xlim(lowest - 2 * margin, highest + margin)
        axis.set_title(name)
        axis.set_yticks(range(len(metrics)), list(metrics) if axis in axes[:, 0] else [""] * len(metrics))
        axis.invert_yaxis()
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    return png(figure)


def _draw_curve(name: str, metrics: AllMetrics) -> bytes:
    figure, axis = subplots(figsize=(5.2, 3.2))
    for colour, (arm, seeds) in zip(COLOURS * 9, metrics.items(), strict=False):
        tables = [m.tables["curves"].loc[m.tables["curves"]["curve"] == name] for m in seeds.values()]
        tables = [t for t in tables if len(t)]
        if not tables:
            continue
        mean = {x: [] for t in tables for x in t["x"]}
        for table in tables:
            for x, y in zip(table["x"], table["y"], strict=True):
                mean[x].append(y)
        xs = sorted(mean)
        centre = [np.mean(mean[x]) for x in xs]
        axis.plot(
            xs,
            centre,
            color=colour,
            linewidth=2 if arm == MAIN else 1.2,
            marker="." if len(xs) < 15 else None,
            label=arm,
        )
        axis.fill_between(
            xs, [min(mean[x]) for x in xs], [max(mean[x]) for x in xs], color=colour, alpha=0.12, linewidth=0
        )
    x_label, y_label = curve_labels(name)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.set_title(f"{name.replace('_', ' ')} (mean, band: all seeds)")
    axis.legend()
    return png(figure)


def curve_labels(name: str) -> tuple[str, str]:
    """What a curve's x and y are, by its name (see `tasks.curves`; curves of training begin with "stage/")."""
    y_label, _, x_label = name.split("/")[-1].replace("_", " ").replace(" by ", " against ").partition(" against ")
    return x_label or "epoch or step", y_label


def _arms_of(method: Method, sweep: Sweep) -> list[str]:
    """Arms that differ from main in the swept parameters only."""
    chosen = []
    for arm in method.arms("evaluate"):
        different = {
            f"{stage}.{key}"
            for stage, calls in method.stages.items()
            for key in {**calls[MAIN].parameters, **calls.get(arm, calls[MAIN]).parameters}
            if calls.get(arm, calls[MAIN]).parameters.get(key) != calls[MAIN].parameters.get(key)
            or calls.get(arm, calls[MAIN]).step != calls[MAIN].step
        }
        roots = {".".join(p.split(".")[:2]) for p in (sweep.against, sweep.lines) if p}
        if different <= roots:
            chosen.append(arm)
    return chosen


def _draw_sweep(method: Method, sweep: Sweep, metrics: AllMetrics) -> bytes:
    lines: dict[Any, list[tuple[Any, list[float]]]] = {}
    for arm in _arms_of(method, sweep):
        line = parameter_at(method.stages, arm, sweep.lines) if sweep.lines else ""
        values = [m.values[sweep.metric] for m in metrics[arm].values()]
        lines.setdefault(line, []).append((parameter_at(method.stages, arm, sweep.against), values))
    figure, axis = subplots(figsize=(5.2, 3.2))
    for colour, (line, points) in zip(COLOURS, sorted(lines.items(), key=lambda item: str(item[0])), strict=False):
        points.sort(key=lambda p: p[0])
        intervals = [t_interval(values) for _, values in points]
        label = f"{sweep.lines.split('.')[-1]} = {line}" if sweep.lines else None
        axis.errorbar(
            [p for p, _ in points], [i.mean for i in intervals], yerr=[i.half_width or 0 for i in intervals],
            color=colour, marker="o", markersize=4, capsize=2, label=label,
        )  # fmt: skip
    if all(isinstance(p, (int, float)) and p > 0 for points in lines.values() for p, _ in points):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel(sweep.against)
    axis.set_ylabel(sweep.metric)
    axis.set_title(f"{sweep.metric} against {sweep.against} (mean, 95 % interval)")
    if sweep.lines:
        axis.legend()
    return png(figure)


def _write(path: Path, text: str) -> None:
    """Write a small file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
