"""Prefect's temporary server does not outlive a driver that is killed, not even while it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

DRIVER = """
from flows.execute import set_up_prefect
set_up_prefect(quiet=True)
from flows.server import start_temporary_server
start_temporary_server()
print("started", flush=True)
"""


def test_driver_killed_while_the_server_starts(tmp_path: Path, prefect_home: Path, wait_until, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    repository = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", repository)
    with open(tmp_path / "said", "w") as said:  # a pipe would be held open by a server that goes on
        driver = subprocess.Popen([sys.executable, "-c", DRIVER], cwd=tmp_path, stdout=said)

    def servers() -> list[psutil.Process]:
        return [p for p in psutil.Process(driver.pid).children() if "uvicorn" in " ".join(p.cmdline())]

    wait_until(servers, 60, "the server is there")
    (server,) = servers()
    driver.kill()
    driver.wait()
    assert (tmp_path / "said").read_text() == "", "it was too late to kill it"
    try:
        wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 10, "the server ends")
    finally:
        if server.is_running():
            server.kill()
