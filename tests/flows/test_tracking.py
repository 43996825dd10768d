"""MLflow: everything that an evaluation says is logged, exactly once, whatever dies in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import tracking
from tasks import record
from tasks.declaration import load_declaration

ARMS, SEEDS = ("main", "jittered", "flipped"), (0, 1, 2)


@pytest.fixture(scope="module")
def runs(first_run) -> tuple[Any, Any, list[Any]]:
    """Client, parent run and nested runs of the first run of the toy."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{first_run[0].folder}/.unlabeled/mlflow.db")
    experiments = client.search_experiments(filter_string="name = 'toy'")
    assert len(experiments) == 1
    found = client.search_runs([experiments[0].experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    return client, parents[0], [run for run in found if run is not parents[0]]


def files(client: Any, run: Any, folder: str | None = None) -> list[str]:
    return sorted(entry.path for entry in client.list_artifacts(run.info.run_id, folder))


def test_one_parent_and_a_nested_run_for_each_arm_and_seed(runs) -> None:
    _, parent, nested = runs
    assert {(r.data.tags["arm"], int(r.data.tags["seed"])) for r in nested} == {(a, s) for a in ARMS for s in SEEDS}
    assert len(nested) == len(ARMS) * len(SEEDS)
    assert {r.data.tags["mlflow.parentRunId"] for r in nested} == {parent.info.run_id}
    assert {r.info.status for r in [parent, *nested]} == {"FINISHED"}


def test_parent_has_verdicts_means_tables_and_figures(runs, first_run) -> None:
    client, parent, _ = runs
    result = json.loads(first_run[0].read("results/toy.json"))
    claim = result["claims"]["accuracy > jittered"]
    metrics = parent.data.metrics
    assert metrics["accuracy"] == result["main"]["accuracy"]
    for key in ("difference", "low", "high"):
        assert metrics[f"accuracy.over.jittered.{key}"] == claim[key]
    assert parent.data.params["claim.accuracy.over.jittered"] == f"{claim['verdict']} at 95%, {claim['wins']} wins"
    assert parent.data.params["seeds"] == "[0, 1, 2]"
    assert parent.data.tags["verdict"] == claim["verdict"]
    assert files(client, parent) == ["figures", "params.yaml", "toy.csv", "toy.json"]
    assert files(client, parent, "figures") == ["figures/arms.png", "figures/curve-self_train-loss.png"]


def test_nested_runs_have_parameters_metrics_curves_figures_and_data(runs) -> None:
    client, _, nested = runs
    for run in nested:
        arm = run.data.tags["arm"]
        params = run.data.params
        assert params["cluster.step"] == "toy_halves"
        assert params["cluster.k"] == "2"
        assert params.get("cluster.jitter") == ("3.0" if arm == "jittered" else None)
        assert params.get("self_train.flip") == ("0.4" if arm == "flipped" else None)
        assert 0 <= run.data.metrics["accuracy"] <= 1
        history = client.get_metric_history(run.info.run_id, "curve.self_train/loss")
        assert sorted((m.step, m.value) for m in history) == [(1, 1.0), (2, 0.5), (3, 0.25)]
        assert files(client, run, "figures") == ["figures/hits.png"]
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.name == "blobs"
        assert json.loads(data.dataset.source) == {"path": "artifacts/data/blobs"}
    accuracy = {(r.data.tags["arm"], r.data.tags["seed"]): r.data.metrics["accuracy"] for r in nested}
    assert accuracy["main", "0"] == 1.0
    assert accuracy["flipped", "0"] < 1.0


def test_tags(runs, first_run) -> None:
    _, parent, nested = runs
    head = first_run[0].git("rev-parse", "HEAD").stdout.strip()
    for run in [parent, *nested]:
        tags = run.data.tags
        assert tags["git.commit"].startswith(head)
        assert (tags["profile"], tags["data"]) == ("small", "blobs")
        assert tags["host"]
        assert len(tags["prefect.flow_run"]) == 36
        assert tags["library.torch"]
        for stage in ("pretrain", "cluster", "pseudo_label", "self_train", "evaluate"):
            assert 0 < float(tags[f"seconds.{stage}"]) < 600


def test_all_is_kept_in_the_workspaces_own_folder(runs, first_run) -> None:
    _, parent, _ = runs
    assert parent.info.artifact_uri.startswith(f"file://{first_run[0].folder}/.unlabeled/mlartifacts/toy/")
    assert not (first_run[0].folder / "mlruns").exists()


def test_outbox_is_empty_after_the_run(first_run) -> None:
    outbox = first_run[0].folder / ".unlabeled" / "outbox"
    assert list(outbox.iterdir()) == []


# ---- exactly once ---------------------------------------------------------------------------------------------


@pytest.fixture
def entry(ran_workspace, toy_steps, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """`entry()` posts the toy's evaluation to the outbox once more, in a copy of the workspace; it is the cwd."""
    monkeypatch.chdir(ran_workspace.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.rmtree(".unlabeled/mlartifacts", ignore_errors=True)
    Path(".unlabeled/mlflow.db").unlink()
    method = load_declaration().method("toy")
    results = [Path("results/toy.json"), Path("results/toy.csv")]
    return lambda: record.post(method, Path("artifacts/toy/evaluate"), results)


def logged() -> list[Any]:
    client = tracking.client()
    experiment = client.get_experiment_by_name("toy")
    return [] if experiment is None else client.search_runs([experiment.experiment_id], max_results=1000)


def fail(text: str) -> None:
    raise AssertionError(text)


def test_exactly_once(entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync twice; find an entry that is logged but still there; find one half logged; one damaged beside a sound one."""
    posted = entry()
    kept = Path("kept")
    shutil.copytree(posted, kept)
    assert tracking.sync(warn=fail) == 1
    assert tracking.sync(warn=fail) == 0
    assert len(logged()) == 10
    # died after the log was complete, before the entry was removed
    shutil.copytree(kept, posted)
    assert tracking.sync(warn=fail) == 1
    assert len(logged()) == 10
    assert tracking.waiting() == []
    # died while logging: parent and some nested runs are there, unfinished
    second = entry()
    genuine, count = tracking._log_arm, 0

    def dies(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise ConnectionError("gone")
        genuine(*arguments)

    warnings: list[str] = []
    monkeypatch.setattr(tracking, "_log_arm", dies)
    assert tracking.sync(warn=warnings.append) == 0
    assert len(warnings) == 1
    assert "ConnectionError: gone" in warnings[0]
    assert "1 evaluation(s) wait in .unlabeled/outbox: run 'unlabeled sync' when it is back" in warnings[0]
    assert 10 < len(logged()) < 20
    assert tracking.waiting() == [Path(".unlabeled/outbox") / second.name]
    monkeypatch.setattr(tracking, "_log_arm", genuine)
    assert tracking.sync(warn=fail) == 1
    runs = logged()
    assert len(runs) == 20
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.tags[tracking.ENTRY] for run in runs) == sorted([posted.name, second.name] * 10)


def test_another_workspace_is_faster(entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiment and data set appear on the server between our look and our attempt to create them."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    entry()
    create, log_inputs = MlflowClient.create_experiment, MlflowClient.log_inputs
    late: list[str] = []

    def create_second(client: Any, name: str, **options: Any) -> str:
        create(client, name)
        return create(client, name, **options)  # raises, as the server does

    def log_second(client: Any, run: str, **options: Any) -> None:
        if not late:
            late.append(run)
            raise MlflowException('BAD_REQUEST: duplicate key value violates unique constraint "dataset_pk"')
        log_inputs(client, run, **options)

    monkeypatch.setattr(MlflowClient, "create_experiment", create_second)
    monkeypatch.setattr(MlflowClient, "log_inputs", log_second)
    assert tracking.sync(warn=fail) == 1
    assert late
    nested = [run for run in logged() if "mlflow.parentRunId" in run.data.tags]
    assert len(nested) == 9
    assert all(len(run.inputs.dataset_inputs) == 1 for run in nested)


def test_damaged_entry_does_not_hold_up_the_others(entry) -> None:
    first, second = entry(), entry()
    older = min(first, second)
    (older / "entry.json").write_text("{")
    warnings: list[str] = []
    assert tracking.sync(warn=warnings.append) == 1
    assert len(warnings) == 1
    assert older.name in warnings[0]
    assert tracking.waiting() == [Path(".unlabeled/outbox") / older.name]
    assert len(logged()) == 10


def test_tracking_uri_is_respected(entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/other.db"
    assert tracking.sync(warn=fail) == 1
    assert (tmp_path / "other.db").is_file()
    assert len(logged()) == 10
    assert not Path(".unlabeled/mlflow.db").exists()


def test_entry_outlives_what_it_was_made_from(entry) -> None:
    """The workspace may have moved on: other artifacts, other parameters."""
    entry()
    shutil.rmtree("artifacts")
    shutil.rmtree("results")
    Path("params.yaml").unlink()
    assert tracking.sync(warn=fail) == 1
    assert len(logged()) == 10


@pytest.mark.slow
def test_run_goes_on_without_mlflow(ran_workspace) -> None:
    away = "http://127.0.0.1:9"
    key = "methods.toy.self_train.arms.flipped.flip=0.3"
    result = ran_workspace.unlabeled("run", "toy", "--set", key, MLFLOW_TRACKING_URI=away)
    assert result.returncode == 0, result.stderr
    assert f"warning: MLflow at {away} did not take the results" in result.stderr
    assert "1 evaluation(s) wait in .unlabeled/outbox: run 'unlabeled sync' when it is back" in result.stderr
    assert "Traceback" not in result.stderr
    outbox = ran_workspace.folder / ".unlabeled" / "outbox"
    assert len(list(outbox.iterdir())) == 1
    still = ran_workspace.unlabeled("sync", MLFLOW_TRACKING_URI=away)
    assert still.returncode == 1
    assert len(list(outbox.iterdir())) == 1
    once, twice = ran_workspace.commands("sync", "sync")
    assert once[1].startswith("logged 1 evaluation(s) to sqlite:///")
    assert twice[1].startswith("logged 0 evaluation(s)")
    assert list(outbox.iterdir()) == []
