"""What came of a sweep: each variant against the current values, as table, picture, JSON and CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.results import difference, plus_minus
from flows.variants import CURRENT, Plan, Variant
from tasks.claims import UNMEASURED, Interval, judge, t_interval
from tasks.declaration import Claim
from tasks.params import MAIN
from tasks.state import write_json

COLUMNS = ("variant", "metric", "difference, 95 %", "wins", "better?", "stages", "time")
SELECTION = (
    "Chosen by the metric that is reported, this is selection on test data: the best of several looks better than it "
    "is, and the intervals do not allow for it. Confirm it on data that had no part in the choice."
)


@dataclass(frozen=True)
class Finished:
    """How one variant's run ended. `states`: how many stages ran, were restored, and so on; `errors`: none if it is complete."""

    seconds: float
    states: dict[str, int]
    errors: list[str]


@dataclass(frozen=True)
class Row:
    """One variant in the table. `values`: the metric of arm `main` per seed, empty if it failed or lacks the metric."""

    variant: Variant
    finished: Finished
    values: dict[int, float]
    interval: Interval | None
    against_current: dict[str, Any]

    def cells(self) -> tuple[str, ...]:
        """As the columns of `COLUMNS`."""
        failed = bool(self.finished.errors)
        judged = self.against_current["difference"] is not None
        return (
            self.variant.label + (" (current)" if self.variant.is_current else ""),
            "failed" if failed else plus_minus(self.interval) if self.interval else "not measured",
            difference(self.against_current) if judged else "",
            self.against_current["wins"] if judged else "",
            self.against_current["verdict"] if judged else "",
            ", ".join(f"{n} {state}" for state, n in self.finished.states.items()),
            f"{self.finished.seconds:.0f} s",
        )


@dataclass(frozen=True)
class Comparison:
    plan: Plan
    rows: list[Row]
    folder: Path

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.finished.errors]

    def best(self) -> Row | None:
        """The variant with the best mean; the current values if none is better; None if nothing was measured."""
        measured = [row for row in self.rows if row.interval is not None]
        sign = 1.0 if self.plan.higher_is_better else -1.0
        return max(measured, key=lambda row: sign * (row.interval.mean if row.interval else 0.0), default=None)

    def conclusion(self) -> list[str]:
        """What to do now, in lines."""
        best = self.best()
        if best is None:
            return [f"no variant yielded {self.plan.metric}"]
        assert best.interval is not None
        said = f"best: {best.variant.label}, {self.plan.metric} {plus_minus(best.interval)}"
        if best.variant.is_current:
            return [f"{said}: the current values; there is nothing to change", SELECTION]
        return [said, f"apply it: {self.plan.command(best.variant)}", SELECTION]

    def picture_path(self) -> Path:
        return self.folder / f"{self.plan.metric}.png"

    def markdown(self) -> str:
        """Table, conclusion and the path of the picture, for Prefect's artifact."""
        lines = [f"| {' | '.join(COLUMNS)} |".replace("metric", self.plan.metric), "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(cell.replace('|', ' ') for cell in row.cells())} |" for row in self.rows]
        lines += ["", *(f"{line}\n" for line in self.conclusion())]
        if self.picture_path().is_file():
            lines.append(f"Picture: `{self.picture_path().resolve()}`")
        return "\n".join(lines) + "\n"


def compare(plan: Plan, finished: dict[str, Finished], folder: Path) -> Comparison:
    """Read the results that the variants have left in `folder/<variant>/results/`."""
    values = {
        v.name: {} if finished[v.name].errors else read_values(folder / v.name, plan.method, plan.metric)
        for v in plan.variants
    }
    claim = Claim(plan.metric, CURRENT, plan.higher_is_better)
    rows = []
    for variant in plan.variants:
        own, current = values[variant.name], values[CURRENT]
        comparable = not variant.is_current and set(own) & set(current)
        judged = judge(claim, {MAIN: own, CURRENT: current}) if comparable else UNMEASURED
        interval = t_interval(list(own.values())) if own else None
        rows.append(Row(variant, finished[variant.name], own, interval, judged))
    return Comparison(plan, rows, folder)


def read_values(workspace: Path, method: str, metric: str) -> dict[int, float]:
    """The metric of arm `main` per seed, from results/<method>.csv; empty if it was not measured."""
    with open(workspace / "results" / f"{method}.csv", newline="") as stream:
        return {
            int(row["seed"]): float(row["value"])
            for row in csv.DictReader(stream)
            if row["arm"] == MAIN and row["metric"] == metric
        }


def write_files(comparison: Comparison) -> list[Path]:
    """<metric>.json, <metric>.csv and, if a key is numeric, <metric>.png; returns their paths, the picture first."""
    plan, stem = comparison.plan, comparison.picture_path().with_suffix("")
    entries = [_entry(row) for row in comparison.rows]
    best = comparison.best()
    write_json(
        stem.with_suffix(".json"),
        {
            "sweep": plan.id, "method": plan.method, "metric": plan.metric, "higher_is_better": plan.higher_is_better,
            "profile": plan.profile, "variants": entries, "best": best.variant.name if best else None,
            "apply": plan.command(best.variant) if best and not best.variant.is_current else None,
        },
    )  # fmt: skip
    with open(stem.with_suffix(".csv"), "w", newline="") as stream:
        flat = [{k: v for k, v in e.items() if k not in ("values", "set", "states")} | e["set"] for e in entries]
        writer = csv.DictWriter(stream, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    stem.with_suffix(".png").unlink(missing_ok=True)
    written = [stem.with_suffix(".json"), stem.with_suffix(".csv")]
    picture = draw(comparison)
    if picture is not None:
        stem.with_suffix(".png").write_bytes(picture)
        written.insert(0, stem.with_suffix(".png"))
    return written


def _entry(row: Row) -> dict[str, Any]:
    interval, judged = row.interval, row.against_current
    return {
        "variant": row.variant.name,
        "set": row.variant.values,
        "mean": interval.mean if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "seeds": len(row.values),
        **{name: judged[name] for name in ("difference", "wins", "verdict")},
        "difference_low": judged["low"],
        "difference_high": judged["high"],
        "seconds": round(row.finished.seconds, 1),
        "error": "; ".join(row.finished.errors) or None,
        "states": row.finished.states,
        "values": {str(seed): value for seed, value in row.values.items()},
    }


def draw(comparison: Comparison) -> bytes | None:
    """The metric against the first numeric key, a line per combination of the other keys; None if there is no curve."""
    rows = [row for row in comparison.rows if row.interval is not None]
    tried = [row for row in rows if not row.variant.is_current]
    keys = list(comparison.plan.variants[0].values)
    numeric = [k for k in keys if tried and all(_is_number(row.variant.values[k]) for row in tried)]
    several = [k for k in numeric if len({row.variant.values[k] for row in rows}) > 1]
    if not several:
        return None
    from tasks.figures import COLOURS, png, subplots  # draws: a second of imports

    against, others = several[0], [key for key in keys if key != several[0]]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if _is_number(row.variant.values[against]):
            lines.setdefault(_line_name(row.variant, others), []).append(row)
    figure, axis = subplots(figsize=(6.0, 3.8))
    for colour, (name, points) in zip(COLOURS * len(lines), lines.items(), strict=False):
        points.sort(key=lambda row: row.variant.values[against])
        x = [row.variant.values[against] for row in points]
        intervals = [row.interval for row in points if row.interval is not None]
        axis.plot(x, [i.mean for i in intervals], color=colour, marker="o", markersize=4, label=name or None)
        low, high = ([i.mean if i.low is None else i.low for i in intervals],
                     [i.mean if i.high is None else i.high for i in intervals])  # fmt: skip
        axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    current = comparison.rows[0]
    if current.interval is not None:
        axis.axhline(current.interval.mean, color="#888888", linestyle=":", linewidth=1)
        if _is_number(current.variant.values[against]):
            axis.plot(current.variant.values[against], current.interval.mean, "o", markersize=10, label="current values",
                      markerfacecolor="none", markeredgecolor="black")  # fmt: skip
    places = sorted({row.variant.values[against] for points in lines.values() for row in points})
    if places[0] > 0 and places[-1] >= 8 * places[0]:
        axis.set_xscale("log")
        axis.minorticks_off()
    axis.set_xticks(places, [f"{place:g}" for place in places])
    axis.set(xlabel=against, ylabel=comparison.plan.metric)
    count = len(current.values or rows[0].values)
    axis.set_title(f"{comparison.plan.method}: {comparison.plan.metric}, mean and 95 % interval over {count} seeds")
    if axis.get_legend_handles_labels()[1]:
        axis.legend()
    return png(figure)


def _line_name(variant: Variant, keys: list[str]) -> str:
    return ", ".join(f"{key.split('.')[-1]} = {variant.values[key]}" for key in keys)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
