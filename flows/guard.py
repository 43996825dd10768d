"""Processes that are not to outlive the one that started them, even if that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

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
