"""Progress of a running stage on the terminal: live bars for a person, a line now and then for a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasks.jobs import ALL, Listener
from tasks.jobs import Progress as JobProgress

SECONDS_BETWEEN_LINES = 15.0
INTERVAL = "UNLABELED_SECONDS_BETWEEN_LINES"  # the driver asks for more lines when a person is looking


@contextmanager
def shown(stage: str) -> Iterator[Listener]:
    """A listener that shows the jobs of `stage` (`cluster@sbcl`) on standard error while they run."""
    if sys.stderr.isatty():
        with _bars(stage) as listener:
            yield listener
    else:
        yield _lines(stage)


@contextmanager
def _bars(stage: str) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    rows = {}

    def listener(label: str, report: JobProgress) -> None:
        bars.start()  # not before: it starts a thread, and the workers are forked first
        if label not in rows:
            rows[label] = bars.add_task(f"{stage} {label}", total=report.total, values="")
        bars.update(rows[label], completed=report.step, total=report.total, values=_values(report))
        if report.step >= report.total:
            bars.update(rows[label], visible=False)

    try:
        yield listener
    finally:
        bars.stop()


def _lines(stage: str) -> Listener:
    started = last = time.monotonic()
    interval = float(os.environ.get(INTERVAL, SECONDS_BETWEEN_LINES))

    done = JobProgress()

    def listener(label: str, report: JobProgress) -> None:
        nonlocal last, done
        now = time.monotonic()
        if label == ALL:
            done = report
        if now - last < interval:
            return
        last = now
        said = [] if label == ALL else [f"{label}: {report.step}/{report.total} {_values(report)}".rstrip()]
        if done.total > 1:
            said.append(f"{done.step} of {done.total} jobs done")
        if said:
            print(f"{stage} {', '.join(said)} after {now - started:.0f} s", file=sys.stderr, flush=True)

    return listener


def _values(report: JobProgress) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in report.values.items())
