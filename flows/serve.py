"""`unlabeled serve`: Prefect server with the deployments of prefect.yaml, MLflow UI and a worker, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from flows.tracking import PAGES, tracking_uri
from tasks.params import read_yaml
from tasks.state import STATE

POOL = "unlabeled"
GRACE_SECONDS = 5.0
START_SECONDS = 90
LOGS = STATE / "logs"


class ServeError(RuntimeError):
    """One of the servers cannot be started; the message says where to look."""


def serve_all(host: str, prefect_port: int, mlflow_port: int, out: Console) -> int:
    """Start everything, wait for Ctrl-C or for one of them to end; returns the exit code."""
    signal.signal(signal.SIGTERM, _as_ctrl_c)  # service managers end it so
    LOGS.mkdir(parents=True, exist_ok=True)
    api = f"http://{host}:{prefect_port}/api"
    os.environ.update({"PREFECT_API_URL": api, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"})
    os.environ["PWD"] = os.getcwd()  # which prefect.yaml names; a shell's is where the command was given
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    running: dict[str, subprocess.Popen] = {}
    try:
        _refuse_taken(host, prefect_port, "--prefect-port")
        running["prefect"] = _start("prefect", ["server", "start", "--host", host, "--port", str(prefect_port)])
        mlflow = tracking_uri()
        if not mlflow.startswith("http"):  # else MLflow has a server already
            _refuse_taken(host, mlflow_port, "--mlflow-port")
            arguments = ["ui", "--host", host, "--port", str(mlflow_port), "--backend-store-uri", mlflow]
            running["mlflow"] = _start("mlflow", arguments)
            mlflow = os.environ[PAGES] = f"http://{host}:{mlflow_port}"
        _wait_for(f"{api}/health", running["prefect"])
        _prefect("pool", ["work-pool", "create", POOL, "--type", "process", "--overwrite"])
        running["worker"] = _start("prefect", ["worker", "start", "--pool", POOL, "--type", "process"], log="worker")
        _prefect("deploy", ["--no-prompt", "deploy", "--all"])
        if "mlflow" in running:
            _wait_for(f"{mlflow}/health", running["mlflow"])
        names = ", ".join(entry["name"] for entry in read_yaml(Path("prefect.yaml"))["deployments"])
        out.print(
            f"Prefect    http://{host}:{prefect_port}\nMLflow     {mlflow}\n"
            f"worker     pool '{POOL}', deployments of prefect.yaml: {names}"
        )
        said = f"runs started with PREFECT_API_URL={api} appear there; logs in {LOGS}/; Ctrl-C stops all"
        out.print(said, soft_wrap=True)
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        ended = next(name for name, process in running.items() if process.poll() is not None)
        out.print(f"[red]error:[/] {ended} ended; see {LOGS}/{ended}.log", soft_wrap=True)
        return 1
    except ServeError as error:
        out.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(running.values()):
            end_group(process)


def _as_ctrl_c(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _prefect(log: str, arguments: list[str]) -> None:
    """Run a command of Prefect's that must succeed."""
    with open(LOGS / f"{log}.log", "w") as stream:
        command = [sys.executable, "-m", "prefect", *arguments]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False).returncode
    if code:
        raise ServeError(f"'prefect {' '.join(arguments)}' failed; see {LOGS}/{log}.log")


def end_group(process: subprocess.Popen) -> None:
    """Stop a process and everything that it started: politely, then for good."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signum)
            process.wait(timeout=GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _start(module: str, arguments: list[str], log: str | None = None) -> subprocess.Popen:
    with open(LOGS / f"{log or module}.log", "w") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def _refuse_taken(host: str, port: int, option: str) -> None:
    """Another clone's server would answer in the place of the one that cannot start."""
    with suppress(OSError), socket.create_connection((host, port), timeout=2):
        raise ServeError(f"port {port} is taken; end what listens there, or choose another with {option}")


def _wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise ServeError(f"{url} does not answer; see {LOGS}/")
