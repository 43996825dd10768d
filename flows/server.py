"""Prefect's temporary server for one run, unless PREFECT_API_URL names a lasting one.

Prefect starts it as a child of the driver. Two things are then in the way of an orderly end: Ctrl-C reaches the
server as well, and the driver waits for minutes to report its end to a server that is gone; and a driver that is
killed leaves the server behind.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterState, TaskRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

from flows.guard import Guard
from flows.workspace import WorkspaceError

NOT_FINAL = [StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED]
RECORD_SECONDS = 10.0
UNAUTHORIZED = 401


def start_temporary_server() -> None:
    """Start the server that Prefect would start, so that it does not hear Ctrl-C and ends when this process ends.

    Prefect stops it on a normal exit; if this process is killed, a guard does. Raises `WorkspaceError` if
    PREFECT_API_URL names a server that does not answer.
    """
    if address := PREFECT_API_URL.value():
        ask_lasting_server(address)
        return
    server: Any = SubprocessASGIServer()  # the one instance that Prefect itself would use
    guard, run = Guard(), server._run_uvicorn_command

    def run_guarded() -> subprocess.Popen[Any]:
        process = run()
        guard.watch(process.pid)  # at once: it takes seconds until it answers and `start` returns
        return process

    server._run_uvicorn_command = run_guarded
    _with_ctrl_c_blocked(server.start)


def ask_lasting_server(address: str) -> None:
    """Raises `WorkspaceError` if the server at PREFECT_API_URL does not answer, or not to this password."""
    try:
        with get_client(sync_client=True) as client:
            client.hello()
            client.read_work_pools(limit=1)
    except (HTTPError, RuntimeError) as error:
        raise WorkspaceError(f"Prefect at {address}: {_trouble(error)}, or unset PREFECT_API_URL") from error


def _trouble(error: HTTPError | RuntimeError) -> str:
    """What is wrong with a server, and the remedy."""
    if isinstance(error, HTTPStatusError) and error.response.status_code == UNAUTHORIZED:
        if PREFECT_API_AUTH_STRING.value() is None:
            return "it asks for a password; set PREFECT_API_AUTH_STRING=admin:PASSWORD"
        return "wrong password; mend PREFECT_API_AUTH_STRING=admin:PASSWORD"
    said = (str(error) or type(error).__name__).splitlines()[0]
    return f"it does not answer ({said}); start the server"


def kill_temporary_server() -> None:
    """End it at once, as after Ctrl-C: nobody is left who would report to it."""
    server = SubprocessASGIServer().server_process
    if server is not None:
        server.kill()


def wait_for_records(seconds: float = RECORD_SECONDS) -> None:
    """Wait, `seconds` at most, until the temporary server has written down how all task runs ended.

    Prefect sends the states of task runs as events, which the server stores later; stopped at once, it loses them.
    """
    server = SubprocessASGIServer().server_process
    if server is None or server.poll() is not None:
        return
    client = get_client(sync_client=True)
    unfinished = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=NOT_FINAL)))
    deadline = time.monotonic() + seconds
    with client, suppress(HTTPError):
        while client.read_task_runs(task_run_filter=unfinished, limit=1) and time.monotonic() < deadline:
            time.sleep(0.2)


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
