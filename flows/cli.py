"""The command `unlabeled`. Each command says here what it does; how is in the module that it calls."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Run, version and compare methods that learn with few or no labels, and re-test their papers' claims.",
    epilog="Examples: `unlabeled run sbcl` · `unlabeled status` · `unlabeled compare sbcl` · `unlabeled report`",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)
INTERRUPTED = 130
VERDICT_STYLE = {"holds": "green", "leans": "yellow", "fails": "red"}

Methods = Annotated[list[str] | None, typer.Argument(help="Methods as named in params.yaml.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Stream logs and show tracebacks.")]


def main() -> None:
    """Console entry point: a mistake of the user is one line and exit code 2, a failed run exit code 1."""
    from flows.workspace import WorkspaceError
    from tasks.params import DeclarationError

    try:
        app(standalone_mode=True)
    except (DeclarationError, WorkspaceError, PermissionError) as error:
        if os.environ.get("UNLABELED_VERBOSE"):
            traceback.print_exc()
        for line in str(error).splitlines():
            err.print(f"[red]error:[/] {_plain(line)}")
        sys.exit(2)
    except Exception as error:
        from flows.workspace import explain

        told = explain(error)
        if told is None or os.environ.get("UNLABELED_VERBOSE"):
            raise
        err.print(f"[red]error:[/] {_plain(told)}")
        sys.exit(2)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # typer has made this of the KeyboardInterrupt
            err.print("interrupted; run the same command again to go on")
            out.file.flush()
            err.file.flush()
            # All stages have ended. Prefect's own end takes many seconds on a busy machine; a guard ends its server.
            os._exit(INTERRUPTED)
        raise


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        out.print(version("unlabeled"))
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """What stands before the command; typer needs a place for it."""


@app.command("list")
def list_methods() -> None:
    """All methods with family, data set, and the verdict on their first claim."""
    from flows.results import load_result

    methods = _raw_methods()
    table = Table("method", "family", "data", "paper", "verdict", box=None, header_style="bold")
    for name, entry in methods.items():
        result = load_result(name)
        claims = list(result["claims"].values()) if result else []
        verdict = _coloured(claims[0]["verdict"]) if claims else "[dim]not run[/]"
        paper = entry["paper"]
        table.add_row(name, entry["family"], entry["data"], f"{paper['title']} ({paper['venue']})", verdict)
    out.print(table)


@app.command()
def show(method: Annotated[str, typer.Argument(help="A method of params.yaml.")]) -> None:
    """Paper, stages, parameters with their documentation, arms and claims of one method.

    Example: `unlabeled show sbcl`
    """
    from flows.show import print_method

    _enter()
    print_method(method, out)


@app.command()
def run(
    methods: Methods = None,
    everything: Annotated[bool, typer.Option("--all", help="All methods and data sets.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change params.yaml first.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="small, smoke or full: shorthand for --set profile=...")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Stages side by side; default: cores.")
    ] = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Take from the DVC remote what the local cache lacks, before computing it.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what is stale.")] = False,
    verbose: Verbose = False,
) -> None:
    """Bring methods up to date: run what is stale, restore what DVC's cache knows, log to MLflow.

    Examples: `unlabeled run sbcl mlcd` · `unlabeled run --all` ·
    `unlabeled run sbcl --set methods.sbcl.cluster.min_size=10` · `unlabeled run --all --profile smoke`
    """
    from flows.execute import execute

    if bool(methods) == everything:
        raise typer.BadParameter("name methods, or give --all", param_hint="METHODS")
    _enter()
    values = list(assignments or ()) + ([f"profile={profile}"] if profile else [])
    raise typer.Exit(execute(list(methods) if methods else None, values, jobs, pull, dry, verbose, out, err))


@app.command()
def sweep(
    method: Annotated[str, typer.Argument(help="A method of params.yaml.")],
    assignments: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE,VALUE", help="Values to try; several: every combination.")
    ],
    metric: Annotated[str | None, typer.Option(help="Default: that of the first claim.")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Variants side by side; default: cores.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run a method with several values of its parameters and compare them; changes neither params.yaml nor results.

    Examples: `unlabeled sweep mlcd --set methods.mlcd.pseudo_label.l=1,2,4,8` · `--set a.b=1,2 --set c.d=[1,2],[3]`
    """
    from flows.sweep_command import sweep_command

    _enter()
    raise typer.Exit(sweep_command(method, assignments, metric, jobs, verbose, out, err))


@app.command()
def status(methods: Methods = None) -> None:
    """What is stale, and why.

    Refreshes code.yaml first. A stage not listed may still become stale when one before it changes its output.
    """
    from flows.execute import print_status

    _enter()
    print_status(list(methods) if methods else None, out)


@app.command()
def compare(
    methods: Methods = None, metrics: Annotated[str, typer.Option(help="Comma-separated; default: all.")] = ""
) -> None:
    """Arms against metrics, mean ± half-width of the 95 % interval.

    Example: `unlabeled compare sbcl --metrics balanced_accuracy,tail_accuracy`
    """
    from flows.results import load_result, plus_minus

    known = _raw_methods()
    for method in methods or list(known):
        _known(method, known)
        result = load_result(method)
        if result is None:
            err.print(f"{method}: no results yet; run 'unlabeled run {method}'")
            continue
        names = [m for m in metrics.split(",") if m] or sorted({m for arm in result["arms"].values() for m in arm})
        out.print(
            f"[bold]{method}[/] on {result['data']}, {len(result['seeds'])} seeds, profile {result['profile']}",
            soft_wrap=True,
        )
        table = Table("arm", *names, box=None, header_style="bold")
        for arm, values in sorted(result["arms"].items(), key=lambda item: (item[0] != "main", item[0])):
            table.add_row(arm, *(plus_minus(values[m]) if m in values else "" for m in names))
        out.print(table)
        print_claims([method])


@app.command()
def report(path: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html")) -> None:
    """Write one self-contained HTML page: verdicts, figures, curves, parameters, environment."""
    from flows.report import write_report

    _enter()
    write_report(path)
    out.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
def verdicts(write: Annotated[bool, typer.Option("--write", help="Put the table into README.md.")] = False) -> None:
    """The verdict table as Markdown."""
    from flows.results import README, markdown_table, readme_with

    methods = list(_raw_methods())
    if write:
        README.write_text(readme_with(methods))
        out.print(f"wrote the table of {len(methods)} methods to {README}")
    else:
        print(markdown_table(methods), end="")


@app.command()
def sync() -> None:
    """Log to MLflow what could not be logged while it was away."""
    from flows import tracking

    _enter()
    failed: list[str] = []
    count = tracking.sync(warn=failed.append)
    out.print(f"logged {count} evaluation(s) to {tracking.tracking_uri()}")
    for line in failed:
        err.print(f"[red]error:[/] {_plain(line)}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def validate() -> None:
    """Check params.yaml against the steps' signatures, for every profile, without running anything."""
    from tasks.declaration import validate as check
    from tasks.params import PROFILES, read_yaml

    _enter()
    content = read_yaml()
    for profile in PROFILES:
        declaration = check({**content, "profile": profile})
        out.print(f"profile {profile}: {len(declaration.methods)} methods are sound")


@app.command()
def doctor() -> None:
    """Check installation, declaration (all profiles), DVC, MLflow store and free space; exit code 1 if something is wrong."""
    from flows.doctor import examine

    _enter()
    raise typer.Exit(examine(out))


@app.command()
def serve(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to bind; the servers have no passwords.")] = "127.0.0.1",
) -> None:
    """Start the Prefect server, the MLflow UI and a worker, until Ctrl-C."""
    from flows.serve import serve_all

    _enter()
    raise typer.Exit(serve_all(host, prefect_port, mlflow_port, out))


def print_claims(methods: list[str]) -> None:
    """The result table: one row per claim."""
    from flows.results import rows, stage_seconds

    table = Table("method", "metric", "main", "baseline", "", "difference, 95 %", "wins", "verdict", "time",
                  box=None, header_style="bold", padding=(0, 2, 0, 0))  # fmt: skip
    for method in methods:
        seconds = stage_seconds(method)
        for index, row in enumerate(rows(method)):
            time = f"{seconds:.0f} s" if seconds is not None and index == 0 else ""
            table.add_row(row.method if index == 0 else "", row.metric, row.main, row.beats, row.baseline,
                          _plain(row.difference), row.wins, _coloured(row.verdict), time)  # fmt: skip
    if not out.is_terminal:
        out.width = 160  # a file has room
    out.print(table, soft_wrap=not out.is_terminal)


def _enter() -> None:
    from flows.workspace import enter_workspace

    enter_workspace()


def _raw_methods() -> dict[str, dict]:
    """The methods of params.yaml without importing any step: these commands answer at once."""
    from tasks.params import read_yaml

    _enter()
    return read_yaml().get("methods") or {}


def _known(method: str, methods: dict) -> None:
    from tasks.params import DeclarationError
    from tasks.steps import did_you_mean

    if method not in methods:
        raise DeclarationError([f"unknown method '{method}'{did_you_mean(method, methods)}"])


def _coloured(verdict: str) -> str:
    return f"[{VERDICT_STYLE.get(verdict, 'white')}]{verdict}[/]"


def _plain(text: str) -> str:
    """Text that rich must not take for markup."""
    return text.replace("[", r"\[")


if __name__ == "__main__":  # as a sweep starts it in each variant's folder
    main()
