"""`python -m tasks STAGE NAME`: the command behind every DVC stage. `python -m tasks fingerprint` writes code.yaml.

Exit codes: 0 done, 1 the run failed, 2 bad input (params.yaml, a data file). UNLABELED_VERBOSE=1 shows tracebacks.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from functools import partial
from typing import NoReturn

from tasks.jobs import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before NumPy and torch are imported

from tasks import console, record
from tasks.artifacts import ArtifactError
from tasks.declaration import load_declaration, load_entry
from tasks.fingerprint import write_fingerprint
from tasks.jobs import WorkerDied
from tasks.params import PARAMS, DeclarationError
from tasks.run import run_stage, stage_folder


def main(arguments: list[str]) -> int:
    """Run one stage; returns the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        if arguments == ["fingerprint"]:
            write_fingerprint(load_declaration())
            return 0
        if len(arguments) != 2:
            print("usage: python -m tasks STAGE NAME, or python -m tasks fingerprint", file=sys.stderr)
            return 2
        stage, name = arguments
        try:
            _run(stage, name)
        except (DeclarationError, ArtifactError, WorkerDied, FloatingPointError, OSError, ValueError) as error:
            raise _Told(stage, name, error) from error
        return 0
    except (_Told, DeclarationError, ValueError) as error:
        if os.environ.get("UNLABELED_VERBOSE"):
            traceback.print_exc()
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.code if isinstance(error, _Told) else 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


class _Told(Exception):
    """An error that needs no traceback: what happened, where, and the exit code it deserves.

    Of bad input it says where params.yaml declares what the stage was given.
    """

    def __init__(self, stage: str, name: str, error: Exception):
        failed_run = isinstance(error, (ArtifactError, WorkerDied, FloatingPointError, TimeoutError))
        missing = isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError))
        bad_input = missing or (isinstance(error, ValueError) and not failed_run)
        where = f"{stage}@{name} ({PARAMS}: {_entry(stage, name)})" if bad_input else f"{stage}@{name}"
        prefix = "" if isinstance(error, DeclarationError) else f"{where}: "
        super().__init__("\n".join(prefix + line for line in str(error).splitlines()))
        self.code = 2 if bad_input else 1


def _entry(stage: str, name: str) -> str:
    section = {"prepare": "datasets", "checkpoint": "checkpoints"}.get(stage)
    return f"{section}.{name}" if section else f"methods.{name}.{stage}"


def _run(stage: str, name: str) -> None:
    declaration = load_entry(stage, name)
    finish, results = None, []
    if stage == "evaluate":
        from tasks.summary import RESULTS, write_summary  # draws: a second of imports that other stages can spare

        results = [RESULTS / f"{name}.json", RESULTS / f"{name}.csv"]
        finish = partial(write_summary, declaration.method(name), declaration.profile)
    _limit(f"{stage}@{name}", declaration.resources_of(stage, name).timeout_minutes)
    started, clock = time.time(), time.perf_counter()
    with console.shown(f"{stage}@{name}") as listener:
        usage = run_stage(declaration, stage, name, listener, finish)
    record.write_run(stage, name, started, time.perf_counter() - clock, usage)
    if stage == "evaluate":
        record.post(declaration.method(name), stage_folder(name, stage), results)


def _limit(stage: str, minutes: float) -> None:
    """Raise `TimeoutError` here after that time; leaving `run_jobs` by any error ends its worker processes."""

    def expire(signum: int, frame: object) -> NoReturn:
        raise TimeoutError(
            f"took longer than {minutes:g} minutes; params.yaml: raise resources.{stage}.timeout_minutes, or do less"
        )

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
