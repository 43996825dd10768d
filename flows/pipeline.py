"""The Prefect flow: stages side by side as their inputs become ready, one task run each; one method's failure does
not stop the others.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

from httpx import HTTPError, TransportError
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows import results, tracking, versioning, warm
from flows.live import View, past
from flows.outcome import Outcome
from flows.server import start_temporary_server, wait_for_records
from flows.stamp import nothing_to_do
from flows.workspace import exclusive
from tasks import cores
from tasks.console import SECONDS_BETWEEN_LINES
from tasks.declaration import Declaration, load_declaration
from tasks.state import STATE


def worth_retrying(task: Any, task_run: Any, state: Any) -> bool:
    """Retry a stage that was killed; bad input and failed computations stay failed."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, versioning.StageFailed) and error.transient


@task(
    task_run_name="{stage}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=worth_retrying,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def run_stage(stage: str, graph: versioning.Graph) -> State[str]:
    """Bring one stage up to date. Returns `ran`, `restored` or `fresh`, which is also the state's message."""
    logger, last = get_run_logger(), 0.0
    progress_bar = ProgressArtifact(stage)

    def on_line(line: str) -> None:
        # What the runner says about this stage; DVC's own remarks are of no use here.
        nonlocal last
        progress = line.startswith(f"{stage} ")
        if not progress and not line.startswith(("error: ", "Traceback", "  File ")):
            return
        if _view is not None:
            _view.line(stage, line)
        if not progress or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            logger.info(line)
            last = time.monotonic() if progress else last
            progress_bar.update(line)

    became = graph.reproduce(stage, on_line)
    return Completed(message=became, data=became)


class ProgressArtifact:
    """A stage's bar in Prefect's pages, of what the lines of its log say. A stage too quick to say anything has none."""

    def __init__(self, stage: str):
        self._stage, self._id, self._lost = stage, None, False

    def update(self, line: str) -> None:
        percent = percent_done(line)
        if percent is None or self._lost:
            return
        try:
            if self._id is None:
                key = re.sub(r"[^a-z0-9]+", "-", self._stage.lower())
                made: Any = create_progress_artifact(percent, key=key, description=self._stage)
                self._id = made
            else:
                update_progress_artifact(self._id, percent)
        except HTTPError:
            self._lost = True  # the work goes on without the bar; that the server has gone is said at the end


def percent_done(line: str) -> float | None:
    """`... main seed 2: 4/8 loss 0.5, 1 of 3 jobs done ...`: one and a half of three jobs, 50; None if it says nothing."""
    jobs = re.search(r"(\d+) of (\d+) jobs done", line)
    steps = re.search(r": (\d+)/([1-9]\d*)", line)
    if jobs is None and steps is None:
        return None
    done, total = (int(jobs[1]), int(jobs[2])) if jobs else (0, 1)
    return min(100.0, 100 * (done + (int(steps[1]) / int(steps[2]) if steps else 0)) / total)


_view: View | None = None  # of the person who started this process's run, if there is one
_settled: Outcome | None = None  # of this process's run, once every stage is settled


@flow(name="unlabeled", flow_run_name=lambda: flow_title(), persist_result=False)
def pipeline(methods: list[str] | None = None, jobs: int | None = None, pull: bool = False) -> State:
    """Bring the stages of `methods` (default: everything declared) up to date and log what is new to MLflow.

    `jobs`: stages side by side (default: one per core). Their steps share the cores whatever it is.
    `pull`: take from the DVC remote what the local cache lacks. Waits while another run holds the workspace.
    Fails, once all is settled, if a stage has failed.
    """
    global _settled
    os.environ[versioning.FLOW_RUN] = str(flow_run.id or "")
    warm.preload()
    declaration = load_declaration(only=methods)
    warn, logged = get_run_logger().warning, []
    # MLflow is written to beside the next stages, by one thread.
    with (
        exclusive(wait=get_run_logger().info),
        versioning.Graph() as graph,
        ThreadPoolExecutor(1, thread_name_prefix="mlflow") as log,
    ):

        def finished(stage: str) -> None:
            if stage.startswith("evaluate@"):
                logged.append(log.submit(tracking.sync, warn=warn))

        if cores.VARIABLE not in os.environ:  # else the variants of a sweep share them
            cores.share(STATE / "cores")
        log.submit(tracking.prepare)
        if pull:
            graph.pull()
        graph.refresh_fingerprint(declaration)
        try:
            outcome = Schedule(graph, graph.stages(methods) or [], finished).run(jobs or cores.count())
        except BaseException:
            warm.stop()
            raise
        if warm.stopping():
            log.shutdown(wait=False, cancel_futures=True)
            return Cancelled(message="interrupted")
    _settled = outcome
    for entry in logged:
        entry.result()  # trouble with MLflow is a warning; an error here is one of ours
    table = results.markdown_table(list(declaration.methods))
    runs = "".join(f"- {line}\n" for line in tracking.runs_of(os.environ[versioning.FLOW_RUN]))
    create_markdown_artifact(
        f"{table}\nMLflow:\n\n{runs}" if runs else table, key="verdicts", description="Claims of this run's methods"
    )
    if outcome.failed:
        return Failed(message="; ".join([outcome.counts(), *outcome.told()]))
    return Completed(message=outcome.counts())


def flow_title() -> str:
    """Name of a flow run: the methods that it was asked for."""
    return ", ".join(flow_run.parameters.get("methods") or ["all methods"])


class Schedule:
    """Starts every stage as soon as all stages upstream of it are settled, those with the longest way behind them first.

    `finished` is called with every stage that has ended.
    """

    def __init__(self, graph: versioning.Graph, stages: list[str], finished: Callable[[str], None]):
        self._graph, self._finished = graph, finished
        self._upstream = {stage: graph.upstream(stage) for stage in stages}
        self._waiting = longest_first(self._upstream)
        self._stale = set(graph.changes(stages))
        self._running: dict[str, tuple[PrefectFuture[Any], float]] = {}
        self._done: queue.Queue[str] = queue.Queue()
        self._outcome = Outcome()

    def run(self, jobs: int) -> Outcome:
        """Run all, at most `jobs` stages at a time; returns when every stage is settled."""
        if _view is not None:
            _view.planned({s: self._upstream[s] for s in self._waiting if self._stale & {s, *self._upstream[s]}})
        while self._waiting or self._running:
            self._start(jobs)
            if self._running:
                self._settle(self._done.get())
        if not self._outcome.failed:
            self._graph.settle()
        return self._outcome

    def _start(self, jobs: int) -> None:
        """Start or settle what can be, first stages first, until nothing more can be."""
        states = self._outcome.states
        progressed = True
        while progressed:
            progressed = False
            for stage in list(self._waiting):
                upstream = self._upstream[stage]
                if not upstream <= states.keys():
                    continue
                if warm.stopping():
                    states[stage] = "skipped"
                    self._outcome.errors[stage] = "interrupted"
                elif upstream & set(self._outcome.errors):
                    states[stage] = "skipped"
                    self._outcome.errors[stage] = "an earlier stage failed"
                elif not self._may_be_stale(stage):
                    states[stage] = "fresh"
                elif len(self._running) < jobs:
                    if _view is not None:
                        _view.started(stage)
                    future = run_stage.submit(stage, self._graph)
                    self._running[stage] = future, time.monotonic()
                    future.add_done_callback(lambda _, stage=stage: self._done.put(stage))
                else:
                    continue
                self._waiting.remove(stage)
                progressed = True

    def _may_be_stale(self, stage: str) -> bool:
        moved = any(self._outcome.states.get(s) in ("ran", "restored") for s in self._upstream[stage])
        return stage in self._stale or moved

    def _settle(self, stage: str) -> None:
        future, started = self._running.pop(stage)
        future.wait()
        outcome, state = self._outcome, future.state
        outcome.seconds[stage] = time.monotonic() - started
        result: Any = state.result(raise_on_failure=False)
        if state.is_completed():
            outcome.states[stage] = result
        else:
            outcome.states[stage] = "failed"
            outcome.errors[stage] = str(result)
            outcome.bad_input |= isinstance(result, versioning.StageFailed) and result.bad_input
        if _view is not None:
            _view.settled(stage, outcome.states[stage], outcome.seconds[stage])
        self._finished(stage)


def longest_first(upstream: dict[str, set[str]]) -> list[str]:
    """The stages, given each after those upstream of it, by the time until the end of the longest chain that they start.

    That is critical-path scheduling (Graham, SIAM J. Appl. Math. 1969). A stage counts with the seconds that it took when it last
    ran here, one that has not run with the mean of the others.
    """
    known = {stage: found.seconds for stage in upstream if (found := past(stage)) is not None}
    usual = sum(known.values()) / len(known) if known else 1.0
    until_end: dict[str, float] = {}
    for stage in reversed(upstream):
        behind = max((seconds for later, seconds in until_end.items() if stage in upstream[later]), default=0.0)
        until_end[stage] = known.get(stage, usual) + behind
    return sorted(upstream, key=lambda stage: -until_end[stage])


def run_pipeline(
    declaration: Declaration, methods: list[str] | None, view: View, jobs: int | None = None, pull: bool = False
) -> Outcome:
    """Run the flow; its server starts while code.yaml is brought up to date.

    Raises `versioning.RemoteError` if `pull` is asked for and cannot be had.
    """
    global _view, _settled
    with versioning.Graph() as graph, ThreadPoolExecutor(1, thread_name_prefix="prefect server") as starting:
        started = starting.submit(start_temporary_server)
        if pull:
            graph.pull()
        try:
            graph.refresh_fingerprint(declaration)
        except versioning.StageFailed as error:
            return Outcome({error.stage: "failed"}, errors={error.stage: str(error)}, bad_input=error.bad_input)
        started.result()
        stages = graph.stages(methods) or []
        if not graph.changes(stages):
            return Outcome(states=dict.fromkeys(stages, "fresh"))
    _view, _settled = view, None
    try:
        with _ctrl_c_stops_stages():
            state: State = pipeline(methods, jobs, pull, return_state=True)
        if state.is_cancelled():
            raise KeyboardInterrupt
        if _settled is None:
            state.result()  # raises what went wrong
        assert _settled is not None
        return _settled
    except TransportError as error:
        if _settled is None:
            raise
        view.warn(f"Prefect's server no longer answers ({error}); it does not know how this run ended")
        return _settled
    finally:
        _view = None
        end_of_run()


def end_of_run() -> None:
    """Let the temporary server write down how all went, and DVC look over the files, so that the next run need not."""
    if warm.stopping():
        wait_for_records(seconds=1.0)  # who has pressed Ctrl-C wants the end more than the record of it
        return
    with ThreadPoolExecutor(1, thread_name_prefix="stamp") as stamping:
        stamping.submit(nothing_to_do, None)
        wait_for_records()


@contextmanager
def _ctrl_c_stops_stages() -> Iterator[None]:
    """Ctrl-C ends the stages, upon which the flow ends in order; a second one is Python's own."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, former)
        warm.stop()

    former = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
