"""`unlabeled sweep` as a person sees it: a line per finished stage, a table at the end."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.comparison import COLUMNS, write_files
from flows.execute import set_up_prefect
from flows.variants import Variant, parse_grid, plan_sweep


def sweep_command(
    method: str, assignments: list[str], metric: str | None, jobs: int | None, verbose: bool, out: Console, err: Console
) -> int:
    """Check, run, show what came of it. Returns the exit code."""
    set_up_prefect(quiet=True)
    plan = plan_sweep(method, parse_grid(assignments), metric)
    from flows.sweep import SETTLED, SWEEPS, run_sweep  # imports prefect, which reads the above
    from flows.sweep_tracking import log_sweep, where

    out.print(f"{len(plan.variants)} variants, the current values among them; folder {SWEEPS / plan.id}", markup=False)
    with err.status("starting ...") as status:
        last: dict[str, str] = {}

        def say(variant: Variant, line: str | None) -> None:
            if line is None:
                last.pop(variant.label, None)
                err.print(f"  {variant.label}: done", markup=False)
            else:
                last[variant.label] = line.strip()
                if verbose or SETTLED.match(line):
                    err.print(f"  {variant.label}: {line.strip()}", markup=False)
            status.update("\n  ".join(escape(f"{label}: {said}"[: err.width - 4]) for label, said in last.items()))

        comparison = run_sweep(plan, jobs, say)
        paths = write_files(comparison)
        page = log_sweep(comparison, paths, lambda text: err.print(f"[yellow]warning:[/] {escape(text)}"))
    table = Table(*COLUMNS, box=None, header_style="bold")
    table.columns[1].header = plan.metric
    for row in comparison.rows:
        table.add_row(*(escape(cell) for cell in row.cells()))
    out.print(table, soft_wrap=not out.is_terminal)
    out.print()
    files = f"files: {' '.join(str(path) for path in paths)}"
    mlflow = f"MLflow: {page or f'experiment {plan.method}, search for: {where(comparison)}'}"
    for line in [*comparison.conclusion(), files, mlflow]:
        out.print(line, markup=False, soft_wrap=True)
    for row in comparison.failed:
        for line in row.finished.errors:
            err.print(f"[red]error:[/] {escape(f'{row.variant.label}: {line}')}")
    return 1 if comparison.failed else 0
