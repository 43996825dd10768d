"""`unlabeled doctor` about what a team shares: DVC remote and Prefect server."""

from __future__ import annotations

import socket
from collections.abc import Callable
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


def test_prefect(closed_port: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings(updates={PREFECT_API_URL: f"{closed_port}/api"}),
        pytest.raises(doctor.Problem, match=rf"{closed_port}/api: .*; start the server, set PREFECT_API_AUTH_STRING"),
    ):
        doctor._prefect()
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert doctor._prefect() == "a temporary server for each run"


def test_run_says_what_is_wrong_with_the_server(toy_workspace, closed_port: str) -> None:
    result = toy_workspace.unlabeled("run", "--all", PREFECT_API_URL=f"{closed_port}/api")
    assert result.returncode == 2
    assert f"error: Prefect at {closed_port}/api: " in result.stderr
    assert "or unset PREFECT_API_URL" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (toy_workspace.folder / "artifacts").exists()
