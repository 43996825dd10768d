"""`unlabeled run` and `unlabeled status` as a person sees them: lines while it works, tables at the end."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.live import View
from flows.outcome import Outcome
from flows.stamp import nothing_to_do
from flows.workspace import exclusive
from tasks.params import DeclarationError, read_yaml
from tasks.state import OUTBOX

# Before prefect is imported. Its server's telemetry and its INFO lines are of no use here; on a busy machine
# it needs more than the 20 s that Prefect grants it to start. It records task runs one by one and every five
# seconds, so that the last ones of a short run would be lost, and watches for automations that nobody has made.
# To a server that has gone it tries to report the run's end for one minute, not two.
PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "4",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # whole seconds: 0.5 would be 0, a busy loop
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}
# What Prefect writes to the terminal. Its server gets the log all the same; here `View` says what matters.
QUIET = ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL")


def set_up_prefect(quiet: bool) -> None:
    """Put `PREFECT` into the environment, and with `quiet` what keeps its log off the terminal; what is set there stays."""
    for name, value in {**PREFECT, **(dict.fromkeys(QUIET, "CRITICAL") if quiet else {})}.items():
        os.environ.setdefault(name, value)


def execute(
    methods: list[str] | None,
    assignments: list[str],
    jobs: int | None,
    pull: bool,
    dry: bool,
    verbose: bool,
    out: Console,
    err: Console,
) -> int:
    """Validate, edit params.yaml, run the flow, print what came of it. Returns the exit code."""
    set_up_prefect(quiet=not verbose)
    if verbose:
        os.environ["UNLABELED_VERBOSE"] = "1"
    if dry and assignments:
        raise DeclarationError(["--dry changes nothing, so it cannot go with --set or --profile"])
    with exclusive():
        if assignments:
            from flows.edit import set_values

            _warm_up()
            for line in set_values(assignments):
                out.print(line, markup=False)
        if dry:
            print_status(methods, out)
            return 0
        started = time.monotonic()
        if (stages := nothing_to_do(methods)) is not None:
            outcome = Outcome(dict.fromkeys(stages, "fresh"))
        elif (ran := _bring_up_to_date(methods, jobs, pull, verbose, err)) is None:
            return 1
        else:
            outcome = ran
        logged = _log_late(err)
    names = methods or list(read_yaml()["methods"])
    from flows.cli import print_claims
    from flows.results import load_result

    print_claims(names)
    late = f"; {logged} late evaluation(s) logged" if logged else ""
    out.print(f"\n{outcome.counts()} in {time.monotonic() - started:.0f} s{late}")
    for line in outcome.told():
        err.print(f"[red]error:[/] {escape(line)}")
    if outcome.failed:
        behind = [name for name in names if outcome.states.get(f"evaluate@{name}") in ("failed", "skipped")]
        if former := [name for name in behind if load_result(name)]:
            err.print(f"what the table says of {', '.join(former)} is from an earlier run")
        others = "the other methods are up to date; " if len(behind) < len(names) else ""
        err.print(f"{others}mend the above and run the same command again")
        return 2 if outcome.bad_input else 1
    _where_to_look(names, out)
    return 0


def _bring_up_to_date(
    methods: list[str] | None, jobs: int | None, pull: bool, verbose: bool, err: Console
) -> Outcome | None:
    """Run the flow; None if the remote to pull from is not to be had, which has been said."""
    _warm_up()
    from flows.pipeline import run_pipeline
    from flows.versioning import RemoteError
    from tasks.declaration import load_declaration

    declaration = load_declaration(only=methods)
    try:
        with View(err, verbose) as view:
            return run_pipeline(declaration, methods, view, jobs, pull)
    except RemoteError as error:
        err.print(f"[red]error:[/] {escape(str(error))}")
        return None


def _log_late(err: Console) -> int:
    """Log to MLflow what an earlier run could not; returns how many evaluations."""
    if not OUTBOX.is_dir():
        return 0
    from flows import tracking

    return tracking.sync(warn=lambda text: err.print(f"[yellow]warning:[/] {text}"))


def _warm_up() -> None:
    from flows import warm

    with suppress(DeclarationError, AttributeError):  # validation, which follows, says it
        warm.preload()


def print_status(methods: list[str] | None, out: Console) -> None:
    """A table of stale stages with the reasons, after refreshing code.yaml."""
    from flows import versioning
    from tasks.declaration import load_declaration

    declaration = load_declaration(only=methods)
    with versioning.Graph() as graph:
        graph.refresh_fingerprint(declaration)
        stages = graph.stages(methods) or []
        stale = graph.changes(stages)
        after = [s for s in stages if s not in stale and graph.upstream(s) & set(stale)]
    if not stale:
        out.print(f"all {len(stages)} stages are up to date")
        return
    table = Table("stale stage", "why", box=None, header_style="bold")
    for stage in stages:
        if stage in stale:
            table.add_row(stage, "\n".join(stale[stage]).replace("[", r"\["))
    out.print(table)
    if after:
        out.print(f"may follow if the above change their outputs: {', '.join(after)}")


def _where_to_look(methods: list[str], out: Console) -> None:
    first = methods[0] if methods else "METHOD"
    out.print(f"figures: artifacts/{first}/evaluate/summary/figures/   all numbers: results/{first}.csv")
    out.print("page: unlabeled report   MLflow and Prefect: unlabeled serve   details: unlabeled compare " + first)
