"""Results as tables: read from results/<method>.json, for the terminal, for the README and for the report."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.claims import Interval, parts_of, t_interval
from tasks.params import MAIN, METHOD_STAGES
from tasks.state import read_run

RESULTS = Path("results")
README = Path("README.md")
BEGIN, END = "<!-- verdicts: written by `unlabeled verdicts --write` -->", "<!-- end of verdicts -->"


@dataclass(frozen=True)
class Row:
    """One claim of one method, ready to print."""

    method: str
    metric: str
    arm: str
    beats: str
    main: str  # value of `arm`, which it names if it is not main
    baseline: str
    difference: str
    wins: str
    verdict: str


def load_result(method: str) -> dict[str, Any] | None:
    """results/<method>.json, with `arms[arm][metric] = Interval` from results/<method>.csv; None before the first run."""
    try:
        result = json.loads((RESULTS / f"{method}.json").read_text())
        with open(RESULTS / f"{method}.csv", newline="") as stream:
            values: dict[str, dict[str, list[float]]] = {}
            for row in csv.DictReader(stream):
                values.setdefault(row["arm"], {}).setdefault(row["metric"], []).append(float(row["value"]))
    except FileNotFoundError:
        return None
    result["arms"] = {arm: {m: t_interval(v) for m, v in metrics.items()} for arm, metrics in values.items()}
    return result


def rows(method: str) -> list[Row]:
    """One row per claim, the headline claim first; empty if the method has not been evaluated."""
    result = load_result(method)
    if result is None:
        return []
    table = []
    for name, claim in result["claims"].items():
        metric, arm, beats = parts_of(name)
        arms = result["arms"]
        main, baseline = (plus_minus(arms[one][metric]) if metric in arms[one] else "" for one in (arm, beats))
        if arm != MAIN:
            main = f"{arm}: {main}"
        row = Row(method, metric, arm, beats, main, baseline,
                  difference(claim), claim["wins"], claim["verdict"])  # fmt: skip
        table.append(row)
    return table


def plus_minus(value: Interval) -> str:
    """`0.701 ± 0.012`: mean and half-width of the 95 % interval."""
    half = value.half_width
    return f"{value.mean:.3f}" + ("" if half is None else f" ± {half:.3f}")


def difference(claim: dict[str, Any]) -> str:
    """`+0.046 [+0.031, +0.061]`: paired difference, positive when the claim is right; empty if unmeasured."""
    if claim["difference"] is None:
        return ""
    interval = "" if claim["low"] is None else f" [{claim['low']:+.3f}, {claim['high']:+.3f}]"
    return f"{claim['difference']:+.3f}{interval}"


def stage_seconds(method: str) -> float | None:
    """Wall-clock time that the method's own stages took when they last ran here; None if they never did."""
    records = [read_run(stage, method) for stage in METHOD_STAGES]
    known = [record["seconds"] for record in records if record is not None]
    return sum(known) if known else None


def markdown_table(methods: list[str]) -> str:
    """The verdict table as Markdown: only figures that follow from committed results, no times."""
    lines = [
        "| method | metric | main | baseline | | difference, 95 % interval | wins | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        for row in rows(method):
            lines.append(
                f"| `{row.method}` | {row.metric} | {row.main} | `{row.beats}` | {row.baseline} | {row.difference} "
                f"| {row.wins} | **{row.verdict}** |"
            )
    return "\n".join(lines) + "\n"


def readme_with(methods: list[str], readme: Path = README) -> str:
    """README.md with its verdict table written anew."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: the lines '{BEGIN}' and '{END}' must stand around the table")
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n\n{markdown_table(methods)}\n{END}", text, flags=re.DOTALL)
