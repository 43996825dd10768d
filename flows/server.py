"""Prefect's temporary server for one run, unless PREFECT_API_URL names a lasting one.

Prefect starts it as a child of the driver. Two things are then in the way of an orderly end: Ctrl-C reaches the
server as well, and the driver waits for minutes to report its end to a server that is gone; and a driver that is
killed leaves the server behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL


def start_temporary_server() -> None:
    """Start the server that Prefect would start, so that it does not hear Ctrl-C and ends when this process ends.

    Prefect stops it on a normal exit; if this process is killed, a guard does.
    """
    if PREFECT_API_URL.value():
        return
    server = SubprocessASGIServer()  # the one instance that Prefect itself would use
    _with_ctrl_c_blocked(server.start)
    if server.server_process is not None:
        context = multiprocessing.get_context("forkserver")
        context.Process(target=_end_with_driver, args=(server.server_process.pid,), daemon=True).start()


def _with_ctrl_c_blocked(start: Callable[[], None]) -> None:
    """Call `start` in a thread that blocks SIGINT: what it starts inherits that, this thread can be interrupted."""
    errors: list[Exception] = []

    def body() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            start()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _end_with_driver(server: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    with suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
