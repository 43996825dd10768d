"""A run as a person sees it while it goes on: what runs, what waits, how long it may still take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from tasks import cores
from tasks.console import INTERVAL
from tasks.state import read_run

COLOUR = {"ran": "green", "restored": "cyan", "failed": "red", "skipped": "yellow"}


@dataclass(frozen=True)
class Past:
    """What a stage took when it last ran here."""

    work: float  # seconds of all its jobs together
    seconds: float  # what it takes at least, on the cores there are


class View:
    """Lines on `err`, and on a terminal a live part below them. `verbose`: Prefect's log says it all, no lines here.

    The pipeline calls `planned` once, `line` for what a stage prints and `settled` when it has ended, from any thread.
    """

    def __init__(self, err: Console, verbose: bool = False):
        self._err, self._verbose = err, verbose
        self._lock = threading.Lock()
        self._upstream: dict[str, set[str]] = {}
        self._past: dict[str, Past | None] = {}
        self._running: dict[str, tuple[float, str]] = {}
        self._settled: set[str] = set()
        self._spinner = Spinner("dots")
        live = err.is_terminal and not verbose
        self._live = Live(console=err, transient=True, get_renderable=self._picture) if live else None
        if live:
            os.environ.setdefault(INTERVAL, "1")

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, upstream: dict[str, set[str]]) -> None:
        """`upstream`: every stage that may run, with the stages that it waits for."""
        with self._lock:
            self._upstream = {stage: before & upstream.keys() for stage, before in upstream.items()}
            self._past = {stage: past(stage) for stage in upstream}

    def started(self, stage: str) -> None:
        with self._lock:
            self._running[stage] = time.monotonic(), ""

    def line(self, stage: str, text: str) -> None:
        """What a running stage says of itself."""
        if text.startswith("error: "):
            return  # shown at the end
        with self._lock:
            self._running[stage] = self._running.get(stage, (time.monotonic(), ""))[0], text.removeprefix(f"{stage} ")
        if self._live is None and not self._verbose:
            self._err.print(escape(text))

    def settled(self, stage: str, state: str, seconds: float) -> None:
        with self._lock:
            self._running.pop(stage, None)
            self._settled.add(stage)
        if state != "fresh":
            self._err.print(f"  [{COLOUR[state]}]{state:<8}[/]  {stage}  [dim]{seconds:.1f} s[/]")

    def warn(self, text: str) -> None:
        self._err.print(f"[yellow]warning:[/] {escape(text)}")

    def _picture(self) -> RenderableType:
        with self._lock:
            now = time.monotonic()
            waiting = self._upstream.keys() - self._settled - self._running.keys()
            if not self._upstream:
                self._spinner.update(text="reading the graph ...")
                return self._spinner
            elapsed = {stage: now - since for stage, (since, _) in self._running.items()}
            left = remaining(self._past, self._upstream, waiting, elapsed)
            head = f"{len(self._running)} running, {len(waiting)} may follow, {len(self._settled)} settled; {left}"
            rows = [f"  {stage}  {elapsed[stage]:.0f} s  {said}" for stage, (_, said) in sorted(self._running.items())]
            self._spinner.update(text=Text("\n".join([head, *rows]), no_wrap=True, overflow="ellipsis"))
            return self._spinner


def past(stage: str) -> Past | None:
    """From the record of the stage's last run in this workspace; None if it has not run here."""
    kind, _, name = stage.partition("@")
    run = read_run(kind, name)
    if run is None:
        return None
    work = float(run["step_seconds"])
    return Past(work, work / max(1, min(cores.count(), len(run["jobs"]))))


def remaining(
    pasts: Mapping[str, Past | None], upstream: dict[str, set[str]], waiting: set[str], elapsed: dict[str, float]
) -> str:
    """`about 3 min left`: the longer of all work over the cores, and of the longest chain of stages.

    `waiting` are stages that have not started, `elapsed` the seconds that the running ones have taken so far.
    """
    unknown = sum(pasts.get(stage) is None for stage in [*waiting, *elapsed])
    work, ends = 0.0, dict[str, float]()
    for stage in upstream:  # in an order in which each comes after those upstream of it
        known = pasts.get(stage)
        if known is None or not (stage in waiting or stage in elapsed):
            continue
        share = max(0.0, 1 - elapsed.get(stage, 0.0) / known.seconds) if known.seconds else 0.0
        work += known.work * share
        ends[stage] = known.seconds * share + max((ends.get(s, 0.0) for s in upstream[stage]), default=0.0)
    seconds = max(work / cores.count(), *ends.values(), 0.0)
    new = f"{unknown} stage{'s have' if unknown > 1 else ' has'} not run here before" if unknown else ""
    if not ends:
        return new or "almost done"
    said = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"at least {said} left, {new}" if new else f"about {said} left"
