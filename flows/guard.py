"""Processes that are not to outlive the one that started them, even if that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

GRACE_SECONDS = 2.0


class Guard:
    """Ends the processes that it is told of when this one has ended, however that came about.

    Start it before them, lest there be a moment in which they are alone. It is an interpreter without imports, there
    within milliseconds, and waits for the end of its standard input.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(GRACE_SECONDS)], text=True, cwd="/", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def watch(self, pid: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{pid}\n")
        self._process.stdin.flush()

    def release(self) -> None:
        """What it guards has ended; the numbers may go to other processes."""
        self._process.kill()
        self._process.communicate()


# SIGKILL at last: a flow would go on for minutes to tell its end to a server that is gone.
_GUARD = """
import os, signal, sys, time

def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True

pids = [int(line) for line in sys.stdin]
deadline = time.monotonic() + float(sys.argv[1])
pids = [pid for pid in pids if send(pid, signal.SIGTERM)]
while pids and time.monotonic() < deadline:
    time.sleep(0.05)
    pids = [pid for pid in pids if send(pid, 0)]
for pid in pids:
    send(pid, signal.SIGKILL)
"""


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
