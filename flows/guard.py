"""Processes that are not to outlive the one that started them, even if that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

GRACE_SECONDS = 2.0


def end_with_driver(pid: int) -> BaseProcess:
    """Start a guard that ends process `pid` when this one has ended, however that came about.

    Terminate the guard first where `pid` ends earlier, since its number may go to another process.
    """
    guard = multiprocessing.get_context("forkserver").Process(target=_guard, args=(pid,), daemon=True)
    guard.start()
    return guard


def _guard(pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(pid, signal.SIGKILL)  # a flow would go on for minutes to tell its end to a server that is gone


def run_in_group(command: list[str] | str, **how: Any) -> int:
    """Run a command as the leader of a process group that ends with it, with this process, or by `end_groups`.

    `how`: as `subprocess.Popen` takes it. Returns the exit code.
    """
    guard = _guard_of_groups(os.getpid())  # before the command starts, lest there be a moment in which it is alone
    process = subprocess.Popen(command, start_new_session=True, **how)
    guard.send(process.pid)
    _groups.add(process.pid)
    try:
        return process.wait()
    finally:
        _groups.discard(process.pid)
        guard.send(-process.pid)


def end_groups() -> None:
    """Ask all processes of the groups to end."""
    for leader in list(_groups):
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)


_groups: set[int] = set()


@cache
def _guard_of_groups(driver: int) -> Connection:
    """Where this process (`driver`: its number, as a forked one needs a guard of its own) tells its guard of groups."""
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    context.Process(target=_end_groups_with_driver, args=(reader,), daemon=True).start()
    reader.close()
    return writer


def _end_groups_with_driver(news: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups: set[int] = set()
    with suppress(EOFError):
        while leader := news.recv():
            groups.add(leader) if leader > 0 else groups.discard(-leader)
    for leader in groups:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
