"""`unlabeled doctor` about what a team shares: DVC remote, Prefect server, MLflow."""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows import doctor


@pytest.fixture
def closed_port() -> str:
    """Address of a port at which nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def remote(toy_workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`remote(url)` gives a toy workspace, which is the cwd, a default DVC remote."""
    monkeypatch.chdir(toy_workspace.folder)

    def add(url: str) -> None:
        assert toy_workspace.dvc("remote", "add", "--default", "team", url).returncode == 0

    return add


def test_remote(remote, tmp_path: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._remote() == "none; docs/team.md says how a team shares results"
    remote(str(tmp_path / "shared"))
    assert doctor._remote().startswith(f"'team' at {tmp_path}/shared: nothing there yet")
    (tmp_path / "shared").mkdir()
    assert doctor._remote() == f"'team' at {tmp_path}/shared answers"


def test_remote_that_does_not_answer(remote, closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": closed_port, "AWS_ACCESS_KEY_ID": "dvc", "AWS_SECRET_ACCESS_KEY": "wrong",
                        "AWS_MAX_ATTEMPTS": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    remote("s3://dvc")
    with pytest.raises(doctor.Problem, match=rf"'team' at s3://dvc: .*{closed_port}.*; see 'dvc remote list'"):
        doctor._remote()


@dataclass
class Guarded:
    """A server that answers as Prefect's and MLflow's do, to `password` alone."""

    address: str
    password: str = "right"


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            right = b64encode(f"admin:{server.password}".encode()).decode()
            allowed = self.headers.get("Authorization") == f"Basic {right}"
            body = b"Unauthorized" if not allowed else b"[]" if self.path.startswith("/api/work_pools") else b"{}"
            found = 404 if "csrf-token" in self.path else 200
            self.send_response(found if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Guarded(f"http://127.0.0.1:{http.server_port}")
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield server
    http.shutdown()
    http.server_close()


def prefect(address: str, secret: str | None = None) -> str:
    """What `doctor` says of Prefect."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings(updates={PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: secret}):
        return doctor._prefect()


def test_prefect_and_its_password(guarded: Guarded) -> None:
    address = f"{guarded.address}/api"
    assert prefect(address, "admin:right") == f"{address} answers"
    for secret, said in (
        (None, "it asks for a password; set PREFECT_API_AUTH_STRING=admin:PASSWORD"),
        ("admin:wrong", "wrong password; mend PREFECT_API_AUTH_STRING=admin:PASSWORD"),
    ):
        with pytest.raises(doctor.Problem) as caught:
            prefect(address, secret)
        assert str(caught.value) == f"{address}: {said}, or unset PREFECT_API_URL"


def test_prefect_that_does_not_answer(closed_port: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with pytest.raises(
        doctor.Problem, match=r"/api: it does not answer \(.*\); start the server, or unset PREFECT_API_"
    ):
        prefect(f"{closed_port}/api")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert doctor._prefect() == "a temporary server for each run"


def test_mlflow_and_its_password(guarded: Guarded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.address)
    both = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    for name in both.split(" and "):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        doctor.Problem, match=f"^{guarded.address}: it asks for a password; set {both}, or unset MLFLOW_"
    ):
        doctor._mlflow()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(
        doctor.Problem, match=f"^{guarded.address}: wrong user or password; mend {both}, or unset MLFLOW_"
    ):
        doctor._mlflow()
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
    assert doctor._mlflow() == guarded.address


def test_mlflow_that_does_not_answer(closed_port: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_port)
    started = time.monotonic()
    with pytest.raises(
        doctor.Problem,
        match=r"^http\S+: it does not answer \(\[Errno \d+\] Connection refused\); start the server, or unset MLFLOW_",
    ):
        doctor._mlflow()
    assert time.monotonic() - started < 30


def test_mlflow_store_that_is_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".unlabeled").mkdir()
    (tmp_path / ".unlabeled" / "mlflow.db").write_text("no database at all" * 100)
    with pytest.raises(
        doctor.Problem, match=r"mlflow.db: it cannot be read \(.*not a database\); mend it or move it away$"
    ):
        doctor._mlflow()


def test_run_says_what_is_wrong_with_the_server(toy_workspace, closed_port: str) -> None:
    result = toy_workspace.unlabeled("run", "--all", PREFECT_API_URL=f"{closed_port}/api")
    assert result.returncode == 2
    assert f"error: Prefect at {closed_port}/api: " in result.stderr
    assert "or unset PREFECT_API_URL" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (toy_workspace.folder / "artifacts").exists()
