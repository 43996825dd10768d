"""The workspace: the folder with params.yaml and dvc.yaml. One run at a time changes it."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tasks
from flows import lockfile
from flows.locks import clear_dead_locks, clear_run_cache
from tasks import cores
from tasks.params import PARAMS
from tasks.state import STATE

LOCK = STATE / "run.lock"
DISK_ERRORS = {
    errno.ENOSPC: "make room, for example with 'dvc gc --workspace'",
    errno.EDQUOT: "make room, for example with 'dvc gc --workspace'",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
}
PATIENCE_SECONDS = 5.0  # with commands such as `dvc status`, which editors run all the time

_held = False


class WorkspaceError(RuntimeError):
    """The workspace cannot be used; the message says what to do."""


def enter_workspace() -> Path:
    """Change to the nearest folder upwards that holds params.yaml and dvc.yaml, and return it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PARAMS).is_file() and (folder / "dvc.yaml").is_file():
            code = Path(tasks.__file__).resolve().parents[1]
            if code != folder.resolve():
                raise WorkspaceError(
                    f"this command runs the code of {code}, but the workspace is {folder}; "
                    f"use {folder}/.venv/bin/unlabeled (make install creates it)"
                )
            os.chdir(folder)
            try:
                cores.count()
            except ValueError as error:
                raise WorkspaceError(str(error)) from error
            return folder
    raise WorkspaceError(f"no params.yaml and dvc.yaml in {here} or above it; change to a clone of the project")


@contextmanager
def exclusive(wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the workspace's lock; the system releases it when the process dies, however it dies.

    While another process has it: `WorkspaceError`, or with `wait` that is told so once, and the lock is waited for.
    A process that holds it already may enter again.
    """
    global _held
    if _held:
        yield
        return
    try:
        STATE.mkdir(exist_ok=True)
        stream = open(LOCK, "a+")  # noqa: SIM115  (open for as long as the lock is held)
    except OSError as error:
        raise WorkspaceError(f"{LOCK}: {error.strerror}; the workspace must be writable") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            other = f"another run is going on in {Path.cwd()} ({stream.read().strip()})"
            if wait is None:
                raise WorkspaceError(f"{other}; wait for it, or stop it") from None
            wait(f"{other}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        with suppress(OSError):  # a full disk: it only serves the message above
            stream.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
            stream.flush()
        _clear_after_dead_processes(wait)
        _held = True
        try:
            yield
        finally:
            _held = False


def _clear_after_dead_processes(wait: Callable[[str], None] | None) -> None:
    started, told = time.monotonic(), False
    while others := clear_dead_locks():
        at_work = f"DVC is at work in {Path.cwd()}: {', '.join(map(str, others))}"
        if wait is None and time.monotonic() - started > PATIENCE_SECONDS:
            raise WorkspaceError(f"{at_work}; wait for it, or stop it")
        if wait is not None and not told:
            wait(f"{at_work}; waiting for it")
            told = True
        time.sleep(0.2)
    clear_run_cache()


def explain(error: BaseException) -> str | None:
    """What to do about an error that lies in the workspace and not in the program; None if it is none of these.

    A disk that is full or read-only, a dvc.lock that has been damaged.
    """
    if (damage := lockfile.damage()) is not None:
        return f"{damage}; take it back with 'git checkout dvc.lock', or delete it: DVC's cache still has the results"
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return f"{error.filename or Path.cwd()}: {error.strerror}; {DISK_ERRORS[error.errno]}, then run it again"
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            return f"{Path.cwd()}: {error}; {DISK_ERRORS[errno.ENOSPC]}, then run it again"
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return None
