"""The flow `watch` and the deployments of prefect.yaml."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.edit import assign
from flows.watch import affected_methods
from tasks.params import DeclarationError, read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
WATCH = "from flows.watch import watch; state = watch(return_state=True); print(state.type.value, state.message)"


@pytest.fixture(scope="module")
def prepared(make_toy_workspace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A toy workspace that reads files, in which the data set has been prepared and nothing more. Copy it."""
    workspace = make_toy_workspace(tmp_path_factory.mktemp("prepared") / "workspace")
    workspace.edit("params.yaml", "n: 40,", "n: 40, path: data/blobs,")
    (workspace.folder / "data" / "blobs").mkdir()
    (workspace.folder / "data" / "blobs" / "one.txt").write_text("one")
    result = workspace.dvc("repro", "--single-item", "fingerprint", "prepare@blobs")
    assert result.returncode == 0, result.stderr
    return workspace


@pytest.fixture
def watched(prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A copy of it, where this process works."""
    workspace = prepared.copy(tmp_path / "workspace")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", workspace.environment["DVC_SITE_CACHE_DIR"])
    monkeypatch.chdir(workspace.folder)
    return workspace


def test_nothing_changed(watched) -> None:
    assert affected_methods() == {}


@pytest.mark.parametrize("kind", ["edited", "added", "removed", "renamed"])
def test_changed_files(watched, kind: str) -> None:
    folder = watched.folder / "data" / "blobs"
    if kind == "edited":
        (folder / "one.txt").write_text("two")
    elif kind == "added":
        (folder / "two.txt").write_text("two")
    elif kind == "removed":
        shutil.rmtree(folder)
    else:
        (folder / "one.txt").rename(folder / "two.txt")
    before = watched.contents("code.yaml", "dvc.lock")
    assert affected_methods() == {"toy": ["blobs"]}
    assert affected_methods(["toy"]) == {"toy": ["blobs"]}
    assert watched.contents("code.yaml", "dvc.lock") == before


def test_changed_files_that_code_yaml_knows_already(watched) -> None:
    """As after `unlabeled status`, which brings code.yaml up to date and prepares nothing."""
    (watched.folder / "data" / "blobs" / "one.txt").write_text("two")
    assert watched.dvc("repro", "--single-item", "fingerprint").returncode == 0
    assert affected_methods() == {"toy": ["blobs"]}


def test_other_changes_are_not_for_it(watched) -> None:
    (watched.folder / "data" / "README.md").write_text("Something else.\n")
    assert affected_methods() == {}
    (watched.folder / "tasks" / "prepare" / "toy_blobs.py").write_text("# no more\n")
    (watched.folder / "code.yaml").write_text(watched.read("code.yaml").replace("code: ", "code: 0"))
    watched.edit("params.yaml", "k: 2", "k: 3")
    assert affected_methods() == {}


def test_changed_parameters_of_a_data_set_are_not_for_it(watched) -> None:
    (watched.folder / "data" / "blobs" / "one.txt").write_text("two")
    watched.edit("params.yaml", "n: 40,", "n: 42,")
    assert affected_methods() == {}


def test_a_checkpoint_s_data_set_counts(watched) -> None:
    watched.edit("params.yaml", "    data: blobs\n", "    data: none\n")
    assert affected_methods() == {}
    (watched.folder / "data" / "blobs" / "one.txt").write_text("two")
    assert affected_methods() == {"toy": ["blobs"]}
    watched.edit("params.yaml", "    checkpoint: scale\n", "    checkpoint: none\n")
    assert affected_methods() == {}


def test_files_behind_a_link(watched, tmp_path: Path) -> None:
    """DVC does not look there."""
    folder = watched.folder / "data" / "blobs"
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert watched.dvc("repro", "--single-item", "fingerprint").returncode == 0
    assert affected_methods() == {}
    (tmp_path / "elsewhere" / "one.txt").write_text("two")
    assert affected_methods() == {"toy": ["blobs"]}


def test_before_the_first_run_and_unknown_methods(watched) -> None:
    with pytest.raises(DeclarationError, match="unknown method 'tpy'; did you mean 'toy'"):
        affected_methods(["tpy"])
    (watched.folder / "dvc.lock").unlink()
    (watched.folder / "data" / "blobs" / "one.txt").write_text("two")
    assert affected_methods() == {}


@pytest.mark.slow
def test_the_flow_runs_what_is_affected(prepared, tmp_path: Path) -> None:
    workspace = prepared.copy(tmp_path / "workspace")
    idle = workspace.run(sys.executable, "-c", WATCH)
    assert idle.stdout == "COMPLETED no data changed\n", idle.stderr
    assert not (workspace.folder / "results").exists()
    (workspace.folder / "data" / "blobs" / "one.txt").write_text("two")
    busy = workspace.run(sys.executable, "-c", WATCH)
    assert busy.stdout.startswith("COMPLETED data of toy changed; "), busy.stderr
    assert " ran" in busy.stdout
    assert "evaluate@toy" in workspace.lock()
    assert "prepare@none" not in workspace.lock()
    again = workspace.run(sys.executable, "-c", WATCH)
    assert again.stdout == "COMPLETED no data changed\n", again.stderr
    workspace.edit("tasks/self_train/toy_vote.py", "if fail:", "if not fail:")
    (workspace.folder / "data" / "blobs" / "one.txt").write_text("three")
    failed = workspace.run(sys.executable, "-c", WATCH)
    assert failed.stdout.startswith("FAILED data of toy changed; "), failed.stderr
    assert "1 failed, 1 skipped; self_train@toy: loss is nan at step 3; lower the rate" in failed.stdout


# ---- deployments ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict[str, Any]]:
    content = YAML(typ="safe").load((REPOSITORY / "prefect.yaml").read_text())
    return {entry["name"]: entry for entry in content["deployments"]}


def test_deployments_fit_their_flows(deployments) -> None:
    assert set(deployments) == {"nightly", "watch", "sweep"}
    for name, entry in deployments.items():
        path, _, function = entry["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
        flow.validate_parameters(entry["parameters"])
        assert entry["description"]
        assert "unlabeled" in entry["tags"]
        assert entry["concurrency_limit"]["limit"] == 1
        assert bool(entry.get("schedules")) == (name != "sweep")


def test_the_example_sweep_is_about_keys_that_exist(deployments) -> None:
    content, parameters = read_yaml(REPOSITORY / "params.yaml"), deployments["sweep"]["parameters"]
    assert parameters["method"] in content["methods"]
    for key in parameters["grid"]:
        assert assign(content, f"{key}=null")[2] is not None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.slow
def test_prefect_deploys_all_and_a_worker_works_in_the_clone(prepared, tmp_path: Path, wait_until) -> None:
    """A real server, a real worker: the flow finds this workspace, and not a copy of it."""
    workspace = prepared.copy(tmp_path / "workspace")
    shutil.copy2(REPOSITORY / "prefect.yaml", workspace.folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PWD": str(workspace.folder),
    }
    (workspace.folder / "data" / "blobs" / "one.txt").write_text("two")
    started = [workspace.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), **server)]
    try:
        wait_until(lambda: answers(f"{server['PREFECT_API_URL']}/health"), 180, "the server is up")
        started.append(
            workspace.start("prefect", "worker", "start", "--pool", "unlabeled", "--type", "process", **server)
        )
        wait_until(lambda: "started!" in workspace.output(), 120, "the worker is up")
        deployed = workspace.run("prefect", "--no-prompt", "deploy", "--all", **server)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert deployed.stdout.count("successfully created") == 3
        ran = workspace.run("prefect", "deployment", "run", "watch/watch", "--watch", **server)
        assert ran.returncode == 0, ran.stdout + workspace.output()
        assert "evaluate@toy" in workspace.lock()
        wrong = workspace.run("prefect", "deployment", "run", "sweep/sweep", "--param", "grid=3", **server)
        assert wrong.returncode == 1
        assert "Validation failed for field 'grid'" in wrong.stdout + wrong.stderr
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
