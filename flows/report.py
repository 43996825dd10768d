"""`unlabeled report`: one HTML page that needs no server and no network."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows import results
from tasks.artifacts import Metrics
from tasks.claims import claimed_arms
from tasks.declaration import Method, load_declaration
from tasks.params import MAIN
from tasks.record import environment, flat_parameters, git_commit
from tasks.run import arm_folder, stage_folder

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """What the template needs to know of one method."""

    method: Method
    result: dict[str, Any]
    rows: list[results.Row]
    metrics: list[str]
    meanings: dict[str, str]
    seconds: float | None
    summary: dict[str, str]
    gallery: dict[str, dict[str, str]]
    parameters: dict[str, dict[str, str]]


def write_report(path: Path) -> None:
    """Write the page; methods without results are listed as such."""
    declaration = load_declaration()
    sections, missing = [], []
    for method in declaration.methods.values():
        result = results.load_result(method.name)
        if result is None or not stage_folder(method.name, "evaluate").is_dir():
            missing.append(method.name)
        else:
            sections.append(_section(method, result))
    jinja = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    jinja.filters["plus_minus"] = results.plus_minus
    page = jinja.get_template("report.html").render(
        sections=sections,
        missing=missing,
        profile=declaration.profile,
        environment=environment(),
        commit=git_commit(),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    path.write_text(page)


def _section(method: Method, result: dict[str, Any]) -> Section:
    folder = stage_folder(method.name, "evaluate")
    summary = Metrics.load(folder / "summary")
    shown = claimed_arms(method.claims)
    gallery: dict[str, dict[str, str]] = {}
    for arm in shown:
        for name, png in Metrics.load(arm_folder(method.name, "evaluate", arm, result["seeds"][0])).figures.items():
            gallery.setdefault(name, {})[arm] = _data_uri(png)
    declared = method.stages["evaluate"][MAIN].resolve().metrics
    names = [name for name in declared if any(name in values for values in result["arms"].values())]
    return Section(
        method,
        result,
        results.rows(method.name),
        names,
        declared,
        results.stage_seconds(method.name),
        {name: _data_uri(png) for name, png in sorted(summary.figures.items(), key=_claims_first)},
        gallery,
        {arm: flat_parameters(method, arm) for arm in shown},
    )


def _claims_first(item: tuple[str, bytes]) -> tuple[int, str]:
    name = item[0]
    order = 0 if name == "arms" else 1 if name.startswith("sweep") else 2 if not name.startswith("curve-") else 3
    return order, name


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
