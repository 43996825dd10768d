"""Fixtures for tests of the drivers: graphs of plain shell commands, other disks, free ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent


class GraphProcess:
    """Client of `graph_process.py`, which says what can be asked."""

    def __init__(self, *wrapper: str):
        self._asked = 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PREFECT_", "UNLABELED_"))}
        environment |= {"PYTHONPATH": str(HERE.parents[1]), "DVC_NO_ANALYTICS": "1", "PREFECT_LOGGING_LEVEL": "ERROR"}
        self._process = subprocess.Popen(
            [*wrapper, sys.executable, str(HERE / "graph_process.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def create(self, folder: Path, stages: dict[str, Any] | None = None) -> Path:
        """Make an empty DVC project, or one with these stages; returns its folder."""
        (folder / ".dvc").mkdir(parents=True)
        (folder / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
        if stages is not None:
            self.declare(folder, stages)
        return folder

    def declare(self, folder: Path, stages: dict[str, Any]) -> None:
        """Write dvc.yaml."""
        YAML(typ="safe", pure=True).dump({"stages": stages}, folder / "dvc.yaml")

    def lock(self, folder: Path) -> dict[str, Any]:
        """The stages of dvc.lock."""
        path = folder / "dvc.lock"
        return YAML(typ="safe").load(path.read_text())["stages"] if path.exists() else {}

    def contents(self, folder: Path, *patterns: str) -> dict[str, str]:
        """Text of every file below `folder` that matches."""
        files = {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}
        return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(files)}

    def ask(self, folder: Path, action: str, **request: Any) -> dict[str, Any]:
        """Answer to one request; a traceback in the child fails the test, unless `crash=True` allows it."""
        allowed = request.pop("crash", False)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked += 1
        question = {"number": self._asked, "folder": str(folder), "action": action, **request}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process has ended; see its standard error"
        answer = json.loads(line)
        assert answer["number"] == self._asked, "answer to another question"
        assert allowed or "crash" not in answer, answer["crash"]
        return answer

    def drive(self, folder: Path, jobs: int = 3, **request: Any) -> dict[str, Any]:
        """Bring the graph in `folder` up to date with our driver."""
        return self.ask(folder, "drive", jobs=jobs, **request)

    def repro(self, folder: Path) -> dict[str, Any]:
        """Bring the graph in `folder` up to date with `dvc repro`."""
        return self.ask(folder, "repro")

    def assert_up_to_date(self, folder: Path) -> None:
        """`dvc status` is clean, and `dvc repro --dry` plans nothing."""
        assert self.ask(folder, "status")["states"] == {}
        assert set(self.ask(folder, "dry")["states"].values()) <= {"fresh"}

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def graphs() -> Iterator[GraphProcess]:
    """Runs graphs in forked processes: `graphs.drive(folder)`, `graphs.repro(folder)`."""
    process = GraphProcess()
    yield process
    process.close()


@pytest.fixture(scope="session")
def with_mount() -> Callable[[Path, str], tuple[str, ...]]:
    """`with_mount(folder, mount)`: what to put before a command that is to see `folder` ("$0") mounted in its own way."""

    def wrapper(folder: Path, mount: str) -> tuple[str, ...]:
        unshare = ("unshare", "-rm", "sh", "-c")
        if subprocess.run([*unshare, mount, str(folder)], capture_output=True).returncode:
            pytest.skip("user namespaces with mounts are not allowed here")
        return (*unshare, f'{mount} && exec "$@"', str(folder))

    return wrapper


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """`free_port()`: a port of 127.0.0.1 on which nobody listens."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find
