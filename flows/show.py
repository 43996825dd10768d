"""`unlabeled show`: everything about one method on one screen."""

from __future__ import annotations

import inspect

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.results import rows
from tasks.declaration import load_declaration
from tasks.params import MAIN, METHOD_STAGES


def print_method(name: str, out: Console) -> None:
    """Paper, stages with parameters in force, arms, claims and verdicts."""
    declaration = load_declaration(only=[name])
    method = declaration.method(name)
    paper = method.paper
    out.print(f"[bold]{name}[/]  {escape(str(paper.get('title', '')))}, {paper.get('venue', '')}")
    if "arxiv" in paper:
        out.print(f"  arXiv {paper['arxiv']}")
    out.print(
        f"  family {method.family} · data {method.data} · checkpoint {method.checkpoint} · seeds {method.seeds} · profile {declaration.profile}"
    )
    for stage in METHOD_STAGES:
        calls = method.stages[stage]
        call = calls[MAIN]
        out.print(f"\n[bold]{stage}[/]: {call.step}  [dim]tasks/{stage}/{call.step}.py[/]")
        step = call.resolve()
        documentation = inspect.getdoc(step.function)
        if documentation:
            out.print(escape(documentation), style="dim")
        table = Table("parameter", "value", "default", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for key, field in step.parameters.model_fields.items():
            default = "required" if field.is_required() else str(field.default)
            table.add_row(key, escape(str(call.parameters.get(key, "(default)"))), escape(default))
        if step.accepts():
            out.print(table)
        for arm, other in calls.items():
            if arm != MAIN and (other.step != call.step or other.parameters != call.parameters):
                changed = {k: v for k, v in other.parameters.items() if call.parameters.get(k) != v}
                what = ([f"step {other.step}"] if other.step != call.step else []) + [
                    f"{k} {v}" for k, v in changed.items()
                ]
                out.print(f"  arm [bold]{arm}[/]: {escape('; '.join(what))}")
    out.print("\n[bold]metrics[/]")
    for metric, meaning in method.stages["evaluate"][MAIN].resolve().metrics.items():
        out.print(f"  {metric}: {escape(meaning)}")
    out.print("[bold]claims[/]")
    measured = {(row.metric, row.arm, row.beats): row for row in rows(name)}
    for claim in method.claims:
        row = measured.get((claim.metric, claim.arm, claim.beats))
        verdict = f"{row.verdict}, {row.difference}, {row.wins} seeds" if row else "not run"
        out.print(f"  {claim.metric}: {claim.arm} beats {claim.beats} -> {escape(verdict)}")
