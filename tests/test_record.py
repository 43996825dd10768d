"""Run records and outbox: what ran is told apart from what was restored, and an entry explains itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import record, state
from tasks.declaration import Method, validate
from tasks.jobs import Usage
from tasks.params import METHOD_STAGES
from tasks.run import run_stage
from tasks.summary import write_summary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


def test_run_is_described(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLABELED_FLOW_RUN", "flow-7")
    assert state.read_run("cluster", "toy") is None
    record.write_run("cluster", "toy", 100.5, 3.0, [Usage("main seed 0", 1.0, 50.0), Usage("main seed 1", 2.0, 70.0)])
    run = state.read_run("cluster", "toy")
    assert run is not None
    assert (run["started"], run["seconds"], run["step_seconds"], run["peak_mib"]) == (100.5, 3.0, 3.0, 70.0)
    assert run["jobs"] == {"main seed 0": 1.0, "main seed 1": 2.0}
    assert run["prefect_flow_run"] == "flow-7"
    assert [path.name for path in state.RUNS.iterdir()] == ["cluster@toy.json"]


def test_damaged_description_counts_as_none(folder: Path) -> None:
    record.write_run("cluster", "toy", 0.0, 1.0, [])
    (state.RUNS / "cluster@toy.json").write_text("{")
    assert state.read_run("cluster", "toy") is None


def test_records_lie_outside_of_every_output() -> None:
    assert state.STATE.parts[0] == ".unlabeled"
    assert not str(state.RUNS).startswith(("artifacts", "results"))


@pytest.fixture
def evaluated(folder: Path, toy_steps: Callable, toy_params: dict) -> Method:
    """The toy with two seeds, run in this process."""
    toy_params["seeds"] = [0, 1]
    declaration = validate(toy_params)
    (folder / "params.yaml").write_text("profile: small\n")

    def quiet(label: str, report: object) -> None:
        """Nobody listens."""

    for stage, name in (("prepare", "blobs"), ("checkpoint", "scale"), *((s, "toy") for s in METHOD_STAGES[:-1])):
        run_stage(declaration, stage, name, quiet)
    method = declaration.method("toy")
    run_stage(declaration, "evaluate", "toy", quiet, lambda partial: write_summary(method, "small", partial))
    return method


def test_entry_explains_itself(evaluated: Method) -> None:
    record.write_run("self_train", "toy", 0.0, 4.0, [])
    record.write_run("self_train", "other", 0.0, 4.0, [])
    results = [Path("results/toy.json"), Path("results/toy.csv")]
    entry = record.post(evaluated, Path("artifacts/toy/evaluate"), results)
    assert sorted(p.name for p in entry.iterdir()) == ["entry.json", "evaluate", "params.yaml", "toy.csv", "toy.json"]
    facts = json.loads((entry / "entry.json").read_text())
    assert (facts["method"], facts["data"], facts["checkpoint"], facts["seeds"]) == ("toy", "blobs", "scale", [0, 1])
    assert facts["parameters"]["jittered"]["cluster.jitter"] == "3.0"
    assert "cluster.jitter" not in facts["parameters"]["main"]
    assert facts["parameters"]["flipped"]["cluster.step"] == "toy_halves"
    assert list(facts["runs"]) == ["self_train@toy"]
    assert len(facts["digests"]["data"]) == 64
    assert {"host", "platform", "python", "libraries", "commit"} <= set(facts)
    assert (entry / "evaluate" / "flipped" / "seed-1" / "artifact.json").is_file()
    other = record.post(evaluated, Path("artifacts/toy/evaluate"), results)
    assert other != entry
    assert not list(state.OUTBOX.glob(".*"))


def test_flat_parameters_of_nested_groups(evaluated: Method) -> None:
    from dataclasses import replace

    call = evaluated.stages["self_train"]["main"]
    nested = replace(call, parameters={"optimizer": {"lr": 0.1, "name": "sgd"}, "rates": [1, 2]})
    method = replace(evaluated, stages={**evaluated.stages, "self_train": {"main": nested}})
    flat = record.flat_parameters(method, "main")
    assert flat["self_train.optimizer.lr"] == "0.1"
    assert flat["self_train.rates"] == "[1, 2]"
    assert flat["self_train.step"] == "toy_vote"


def test_commit(folder: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert record.git_commit() == ""
    git("init", "-q")
    (folder / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert record.git_commit() == head
    (folder / "untracked").write_text("1")
    assert record.git_commit() == head
    (folder / "a").write_text("2")
    assert record.git_commit() == f"{head}+changes"
