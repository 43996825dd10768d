"""Stage processes that start warm: forked from a server which has imported torch and the steps once.

The code from stage entry on is the same as that of `python -m tasks STAGE NAME`, which plain `dvc repro` calls;
only the start of the interpreter and its imports, some four seconds a stage, are shared.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from flows.guard import end_groups
from tasks.jobs import ENVIRONMENT, die_with_parent
from tasks.params import METHOD_STAGES, read_yaml
from tasks.steps import NONE

GRACE_SECONDS = 5.0

_running: set[BaseProcess] = set()
_stopping = threading.Event()


def preload() -> None:
    """Start the server, in the background, with everything imported that the steps named in params.yaml need.

    It is called before the declaration has been validated, as that imports as much again: both go on side by side.
    A step that does not exist is passed over here.
    """
    os.environ.update(ENVIRONMENT)
    steps = sorted({f"tasks.{stage}.{step}" for stage, step in _steps_named() if step != NONE})
    forkserver.set_forkserver_preload(["tasks.__main__", "tasks.summary", "tasks.fingerprint", *steps])
    forkserver.ensure_running()


def _steps_named() -> Iterator[tuple[str, str]]:
    content = read_yaml()
    for stage, section in (("prepare", "datasets"), ("checkpoint", "checkpoints")):
        for entry in content.get(section, {}).values():
            yield from ((stage, step) for step in _steps_in(entry))
    for method in content.get("methods", {}).values():
        for stage in METHOD_STAGES:
            yield from ((stage, step) for step in _steps_in(method.get(stage)))


def _steps_in(entry: Any) -> Iterator[str]:
    """Values of the key `step` in `entry` and the profiles and arms below it."""
    for key, value in entry.items() if isinstance(entry, dict) else ():
        if key == "step" and isinstance(value, str):
            yield value
        yield from _steps_in(value)


def stopping() -> bool:
    """Whether `stop` has been called: what ends now was ended on purpose."""
    return _stopping.is_set()


def stop() -> None:
    """End all running stages, however many threads wait for them; no more are started. Returns at once."""
    _stopping.set()
    processes = list(_running)
    end_groups()
    for process in processes:
        process.terminate()  # the stage ends its workers on SIGTERM; they end themselves if it cannot

    def kill() -> None:
        for process in processes:
            process.kill()

    timer = threading.Timer(GRACE_SECONDS, kill)
    timer.daemon = True
    timer.start()


def run_stage(arguments: list[str], on_line: Callable[[str], None], environment: dict[str, str]) -> int:
    """Run `python -m tasks ARGUMENTS` in a warm process; returns its exit code, negative if a signal ended it.

    Each line that the stage prints goes to `on_line`. Leaving by an exception ends the process and its workers.
    """
    if stopping():
        return -signal.SIGTERM
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_stage, args=(arguments, writer, environment))
    process.start()
    writer.close()
    _running.add(process)
    if stopping():  # since we looked, and `stop` may not have seen this one
        process.terminate()
    try:
        with os.fdopen(os.dup(reader.fileno()), errors="replace") as lines:
            for line in lines:
                on_line(line.rstrip("\n"))
        process.join()
    except BaseException:
        process.terminate()
        process.join(GRACE_SECONDS)
        process.kill()
        raise
    finally:
        _running.discard(process)
        reader.close()
    return process.exitcode or 0


def _stage(arguments: list[str], output: Connection, environment: dict[str, str]) -> None:
    """Body of a stage process: standard output and error go to the driver."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    os.environ.update(environment)
    # A stage that outlived a killed driver would write where the next run writes. The thread only waits for the
    # driver, so the workers may still be forked.
    threading.Thread(target=die_with_parent, daemon=True).start()
    from tasks.__main__ import main

    sys.exit(main(arguments))
