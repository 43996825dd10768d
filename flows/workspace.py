"""The workspace: the folder with params.yaml and dvc.yaml. One run at a time changes it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tasks
from flows.locks import clear_dead_locks
from tasks.declaration import PARAMS
from tasks.record import STATE

LOCK = STATE / "run.lock"

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
        stream.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
        stream.flush()
        clear_dead_locks()
        _held = True
        try:
            yield
        finally:
            _held = False
