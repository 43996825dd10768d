"""`unlabeled serve`: the schedules of prefect.yaml fire, and what they run can be found again."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import BIN, REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture
def served(toy_workspace, tmp_path: Path, wait_until, free_port) -> Iterator[tuple[Any, Any, str, str]]:
    """A workspace whose `nightly` is due every 20 seconds, its server process, and the addresses of Prefect and MLflow."""
    shutil.copy2(REPOSITORY / "prefect.yaml", toy_workspace.folder)
    toy_workspace.edit(
        "prefect.yaml", '{cron: "0 2 * * *", timezone: UTC, active: true}', "{interval: 20, active: true}"
    )
    prefect, mlflow = free_port(), free_port()
    process = toy_workspace.start(
        str(BIN / "unlabeled"), "serve", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow),
        PREFECT_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    try:
        wait_until(lambda: "Ctrl-C stops all" in toy_workspace.output() or process.poll() is not None, 180, "it serves")
        yield toy_workspace, process, f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def flow_runs(api: str, **query: Any) -> list[dict[str, Any]]:
    return httpx.post(f"{api}/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_ASC", **query}, timeout=30).json()


def test_schedule_fires_and_ends_in_mlflow(served, wait_until) -> None:
    from mlflow import MlflowClient

    workspace, process, api, mlflow = served
    assert process.poll() is None, workspace.output()
    assert "deployments of prefect.yaml: nightly, watch, sweep" in workspace.output()
    done = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    wait_until(lambda: bool(flow_runs(api, **done)), 240, "a scheduled run ends")
    run = flow_runs(api, **done)[0]
    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["state"]["message"] == f"{len(workspace.lock()) - 1} ran, 1 fresh"  # the fingerprint is made before
    assert run["name"] == "all methods"
    assert run["parameters"] == {"methods": None}
    assert set(run["tags"]) == {"auto-scheduled", "unlabeled"}
    assert workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    client = MlflowClient(mlflow)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id])
    assert {r.data.tags["prefect.flow_run"] for r in logged} == {run["id"]}
    (parent,) = [r for r in logged if r.data.tags.get("unlabeled.parent") == "yes"]
    (artifact,) = httpx.post(f"{api}/artifacts/latest/filter", json={}, timeout=30).json()
    assert f"]({mlflow}/#/experiments/{experiment.experiment_id}/runs/{parent.info.run_id})" in artifact["data"]
    assert "| `toy` | accuracy |" in artifact["data"]


def test_the_end_of_it_leaves_no_process(served, wait_until) -> None:
    workspace, process, *_ = served
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, workspace.output()
    wait_until(lambda: not workspace.processes(), 15, "all processes end")


def test_mlflow_has_a_server_elsewhere(toy_workspace, tmp_path: Path, wait_until, free_port) -> None:
    shutil.copy2(REPOSITORY / "prefect.yaml", toy_workspace.folder)
    process = toy_workspace.start(
        str(BIN / "unlabeled"), "serve", "--prefect-port", str(free_port()),
        PREFECT_HOME=str(tmp_path / "home"), MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )  # fmt: skip
    try:
        wait_until(lambda: "Ctrl-C stops all" in toy_workspace.output() or process.poll() is not None, 180, "it serves")
        assert process.poll() is None, toy_workspace.output()
        assert "MLflow     http://127.0.0.1:9\n" in toy_workspace.output()
        assert not (toy_workspace.folder / ".unlabeled" / "logs" / "mlflow.log").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_port_that_is_taken(toy_workspace, tmp_path: Path, free_port) -> None:
    shutil.copy2(REPOSITORY / "prefect.yaml", toy_workspace.folder)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = str(listener.getsockname()[1])
        result = toy_workspace.run(
            sys.executable, "-m", "flows.cli", "serve", "--prefect-port", taken, "--mlflow-port", str(free_port()),
            PREFECT_HOME=str(tmp_path / "home"),
        )  # fmt: skip
    assert result.returncode == 1
    assert (
        f"error: port {taken} is taken; end what listens there, or choose another with --prefect-port" in result.stdout
    )
    assert not toy_workspace.processes()
