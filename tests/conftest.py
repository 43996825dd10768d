"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch and faiss are imported: tests compute on one thread, as every job of the runner does.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import hashlib  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402

import psutil  # noqa: E402
import pytest  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
TOY = REPOSITORY / "tests" / "toy"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data sets: $UNLABELED_TEST_DATA, else `shared/data` beside the repository; else skip."""
    folder = Path(os.environ.get("UNLABELED_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set UNLABELED_TEST_DATA")
    return folder


# ---- toy steps inside the test process -------------------------------------------------------------------------


@pytest.fixture
def toy_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Makes the steps of tests/toy known to this process; `add(stage, name, source)` makes one more."""
    from tasks import steps

    own = tmp_path / "more_steps"
    genuine, added = steps.step_names, []
    for stage in steps.STAGES:
        package = importlib.import_module(f"tasks.{stage}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(TOY / stage), str(own / stage)])

    def with_toys(stage: str) -> list[str]:
        folders = (TOY / stage, own / stage)
        return sorted({*genuine(stage), *(path.stem for folder in folders for path in folder.glob("*.py"))})

    def add(stage: str, name: str, source: str) -> None:
        (own / stage).mkdir(parents=True, exist_ok=True)
        (own / stage / f"{name}.py").write_text(source)
        added.append(f"tasks.{stage}.{name}")
        importlib.invalidate_caches()
        steps.find_step.cache_clear()

    monkeypatch.setattr(steps, "step_names", with_toys)
    steps.find_step.cache_clear()
    yield add
    steps.find_step.cache_clear()
    for module in added:
        sys.modules.pop(module, None)


@pytest.fixture
def toy_params() -> dict[str, Any]:
    """The toy params.yaml, parsed; a fresh copy for each test."""
    return YAML(typ="safe", pure=True).load((TOY / "params.yaml").read_text())


# ---- whole workspaces -----------------------------------------------------------------------------------------


@dataclass
class Workspace:
    """A clone-like folder with the project's code, the toy steps and a toy params.yaml, and how to run commands in it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; nothing that it starts may outlive it."""
        return subprocess.run(
            command, cwd=self.folder, env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip

    def unlabeled(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(BIN / "unlabeled"), *arguments, **environment)

    def tasks(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "tasks", *arguments, **environment)

    def dvc(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, with its output in `output.txt` outside the workspace."""
        with open(self.folder.parent / f"{self.folder.name}-output.txt", "w") as stream:
            return subprocess.Popen(
                command, cwd=self.folder, env={**self.environment, **environment}, stdout=stream,
                stderr=subprocess.STDOUT, text=True, start_new_session=True,
                preexec_fn=hear_ctrl_c,
            )  # fmt: skip

    def output(self) -> str:
        """What the command started last has said."""
        return (self.folder.parent / f"{self.folder.name}-output.txt").read_text()

    def commands(self, *lines: str, **environment: str) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of several `unlabeled ...` lines, in one process to save its imports."""
        result = self.run(sys.executable, "-c", SEVERAL_COMMANDS, *lines, **environment)
        assert result.returncode == 0, result.stderr
        return [tuple(entry) for entry in json.loads(result.stdout)]

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that occurs exactly once in a file."""
        text = self.read(path)
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
        (self.folder / path).write_text(text.replace(old, new))

    def declare(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the parsed params.yaml."""
        content = YAML(typ="safe", pure=True).load(self.read("params.yaml"))
        change(content)
        with open(self.folder / "params.yaml", "w") as stream:
            YAML(typ="safe", pure=True).dump(content, stream)

    def lock(self) -> dict[str, Any]:
        """dvc.lock, parsed."""
        return YAML(typ="safe", pure=True).load(self.read("dvc.lock"))["stages"]

    def contents(self, *folders: str) -> dict[str, str]:
        """SHA-256 of every file below some folders (or of single files), without what lies outside of outputs."""
        files = [
            p
            for f in folders
            for p in ([self.folder / f] if (self.folder / f).is_file() else (self.folder / f).rglob("*"))
        ]
        return {
            p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(files)
            if p.is_file() and "__pycache__" not in p.parts
        }

    def processes(self) -> list[psutil.Process]:
        """Live processes that work in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def copy(self, folder: Path) -> Workspace:
        """The same workspace, with all that has run, in another place."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder, workspace_environment(folder, Path(self.environment["PREFECT_HOME"])))


SEVERAL_COMMANDS = """
import contextlib, io, json, os, shlex, sys
from flows.cli import main
results, folder = [], os.getcwd()
for line in sys.argv[1:]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["unlabeled", *shlex.split(line)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
    results.append([code, out.getvalue(), err.getvalue()])
    os.chdir(folder)
json.dump(results, sys.stdout)
"""


def hear_ctrl_c() -> None:
    """A shell's background job ignores SIGINT, and so would all that the tests start from there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def workspace_environment(folder: Path, prefect_home: Path) -> dict[str, str]:
    """Environment of commands in a workspace: its own code, nothing from the user's home or from other tests."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MLFLOW_", "PREFECT_", "UNLABELED_", "DVC_", "GIT_", "PYTHONDONT"))
    }
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PREFECT_HOME": str(prefect_home),
        "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        "COLUMNS": "160",
        "NO_COLOR": "1",
    }


def make_workspace(folder: Path, prefect_home: Path) -> Workspace:
    """Copy the code and DVC's files, add the toy steps, commit."""
    folder.mkdir(parents=True)
    for name in ("tasks", "flows", ".dvc"):
        ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignore)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy2(REPOSITORY / name, folder / name)
    shutil.copytree(TOY, folder / "tasks", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tasks" / "params.yaml").rename(folder / "params.yaml")
    (folder / "data").mkdir()
    (folder / "data" / "README.md").write_text("Data sets lie here.\n")
    (folder / ".gitignore").write_text("/artifacts/\n/.unlabeled/\n__pycache__/\n")
    workspace = Workspace(folder, workspace_environment(folder, prefect_home))
    workspace.git("init", "-q")
    workspace.git("add", "-A")
    assert workspace.git("commit", "-qm", "toy").returncode == 0
    return workspace


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's home for the whole session: its first use costs a migration."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def make_toy_workspace(prefect_home: Path) -> Callable[[Path], Workspace]:
    """`make(folder)`, for fixtures that live longer than one test."""
    return lambda folder: make_workspace(folder, prefect_home)


@pytest.fixture
def toy_workspace(tmp_path: Path, prefect_home: Path) -> Iterator[Workspace]:
    """A fresh toy workspace in which nothing has run."""
    workspace = make_workspace(tmp_path / "workspace", prefect_home)
    yield workspace
    end_all(workspace)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> tuple[Workspace, str]:
    """A toy workspace after its first `unlabeled run --all`, and what that printed. Look, do not touch."""
    workspace = make_workspace(tmp_path_factory.mktemp("ran") / "workspace", prefect_home)
    result = workspace.unlabeled("run", "--all")
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace, result.stdout + result.stderr


@pytest.fixture
def cloned_workspace(first_run: tuple[Workspace, str], tmp_path: Path) -> Iterator[Workspace]:
    """A clean clone of the toy workspace, without its artifacts and cache."""
    source = first_run[0]
    assert source.run("git", "clone", "-q", str(source.folder), str(tmp_path / "clone")).returncode == 0
    workspace = Workspace(
        tmp_path / "clone", workspace_environment(tmp_path / "clone", Path(source.environment["PREFECT_HOME"]))
    )
    yield workspace
    end_all(workspace)


@pytest.fixture
def ran_workspace(first_run: tuple[Workspace, str], tmp_path: Path) -> Iterator[Workspace]:
    """A copy of a toy workspace in which everything has run."""
    workspace = first_run[0].copy(tmp_path / "workspace")
    yield workspace
    end_all(workspace)


def end_all(workspace: Workspace) -> None:
    """A failed test must not leave processes behind."""
    for process in workspace.processes():
        if process.pid != os.getpid():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue


@pytest.fixture
def wait_until() -> Callable[..., float]:
    """`wait_until(condition, seconds)` polls and returns the time it took; fails the test when it takes longer."""

    def wait(condition: Callable[[], object], seconds: float, what: str = "condition") -> float:
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"{what}: not within {seconds} s"
            time.sleep(0.05)
        return time.monotonic() - started

    return wait
