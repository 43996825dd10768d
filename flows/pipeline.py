"""The Prefect flow: stages in order, one task run each; one method's failure does not stop the others.

The seam to a faster driver is `versioning.reproduce`: everything here would stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows import results, tracking, versioning, warm
from flows.server import start_temporary_server
from tasks.declaration import Declaration, load_declaration
from tasks.record import read_run

OnLine = Callable[[str, str], None]


@dataclass
class Outcome:
    """What became of every stage: ran, restored (from DVC's run cache), fresh, failed or skipped."""

    states: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    bad_input: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.errors)


def worth_retrying(task: Any, task_run: Any, state: Any) -> bool:
    """Retry a stage that was killed or found DVC locked; bad input and failed computations stay failed."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, versioning.StageFailed) and error.transient


@task(
    task_run_name="{stage}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=worth_retrying,
    persist_result=False,
)
def run_stage(stage: str) -> str:
    """Run or restore one stage through DVC. Returns `ran` or `restored`."""
    logger, started = get_run_logger(), time.time()

    def on_line(line: str) -> None:
        # What the runner says about this stage; DVC's own remarks are of no use here.
        if line.startswith((f"{stage} ", "error: ", "Traceback", "  File ")):
            logger.info(line)
            if _listener is not None:
                _listener(stage, line)

    versioning.reproduce(stage, on_line)
    if stage == versioning.FINGERPRINT:
        return "ran"
    record = read_run(*stage.split("@"))
    return "ran" if record is not None and record["started"] >= started - 1 else "restored"


_listener: OnLine | None = None


@flow(name="unlabeled", flow_run_name=lambda: flow_title(), persist_result=False)
def pipeline(methods: list[str] | None = None) -> Outcome:
    """Bring the stages of `methods` (default: everything declared) up to date and log what is new to MLflow."""
    os.environ["UNLABELED_FLOW_RUN"] = str(flow_run.id or "")
    declaration = load_declaration(only=methods)
    warm.preload(declaration)
    names = list(declaration.methods)
    stages = versioning.stages_of(declaration, names, everything=methods is None)
    versioning.refresh_fingerprint(declaration)
    outcome, stale = Outcome(), set(versioning.changes(stages))
    warn, logged = get_run_logger().warning, []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow") as log:  # beside the next stages
        for stage in stages:
            _advance(stage, versioning.upstream_of(declaration, stage), stale, outcome)
            if stage.startswith("evaluate@"):
                logged.append(log.submit(tracking.sync, warn=warn))
    for entry in logged:
        entry.result()  # trouble with MLflow is a warning; an error here is one of ours
    create_markdown_artifact(results.markdown_table(names), key="verdicts", description="Claims of this run's methods")
    return outcome


def flow_title() -> str:
    """Name of a flow run: the methods that it was asked for."""
    return ", ".join(flow_run.parameters.get("methods") or ["all methods"])


def _advance(stage: str, upstream: set[str], stale: set[str], outcome: Outcome) -> None:
    """Run `stage` if it was `stale` at the start, or has become so because a stage `upstream` changed its output."""
    if upstream & set(outcome.errors):
        outcome.states[stage] = "skipped"
        outcome.errors[stage] = "an earlier stage failed"
        return
    moved = any(outcome.states.get(s) in ("ran", "restored") for s in upstream)
    if stage not in stale and not (moved and versioning.changes([stage])):
        outcome.states[stage] = "fresh"
        return
    started = time.monotonic()
    state = run_stage(stage, return_state=True)
    outcome.seconds[stage] = time.monotonic() - started
    if state.is_completed():
        outcome.states[stage] = state.result()
    else:
        error = state.result(raise_on_failure=False)
        outcome.states[stage] = "failed"
        outcome.errors[stage] = str(error)
        outcome.bad_input |= isinstance(error, versioning.StageFailed) and error.bad_input
    if _listener is not None:
        _listener(stage, f"state: {outcome.states[stage]} {outcome.seconds[stage]:.1f}")


def run_pipeline(declaration: Declaration, methods: list[str] | None, listener: OnLine | None = None) -> Outcome:
    """Run the flow, or, when nothing is stale, return at once without starting Prefect."""
    global _listener
    stages = versioning.stages_of(declaration, list(declaration.methods), everything=methods is None)
    warm.preload(declaration)
    try:
        versioning.refresh_fingerprint(declaration)
    except versioning.StageFailed as error:
        return Outcome({error.stage: "failed"}, errors={error.stage: str(error)}, bad_input=error.bad_input)
    if not versioning.changes(stages):
        return Outcome(states=dict.fromkeys(stages, "fresh"))
    _listener = listener
    try:
        start_temporary_server()
        return pipeline(methods)
    finally:
        _listener = None
