"""`unlabeled sweep`: the grid is checked first, the workspace stays as it is, the comparison says what was measured."""

from __future__ import annotations

import csv
import io
import json
import os
import queue
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from ruamel.yaml import YAML

from flows import comparison, sweep, sweep_tracking
from flows.comparison import Finished
from flows.variants import CURRENT, Plan, parse_grid, plan_sweep, write_grid
from tasks import cores
from tasks.params import DeclarationError

K, JITTER, FLIP = "methods.toy.cluster.k", "methods.toy.cluster.jitter", "methods.toy.self_train.flip"
FAIL, SECONDS = "methods.toy.self_train.fail", "methods.toy.self_train.seconds"
STATES = ("ran", "restored", "failed", "skipped")


@pytest.fixture
def declared(
    toy_steps: object, toy_params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Work in a folder with the toy's params.yaml; call it to change that."""
    monkeypatch.chdir(tmp_path)

    def write(change: Callable[[dict[str, Any]], object] = lambda content: None) -> None:
        change(toy_params)
        with open("params.yaml", "w") as stream:
            YAML(typ="safe", pure=True).dump(toy_params, stream)

    write()
    return write


def plan(*assignments: str, metric: str | None = None, method: str = "toy") -> Plan:
    return plan_sweep(method, parse_grid(list(assignments)), metric)


# ---- the grid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4", ["1", "2", "4"]),
        ("1", ["1"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("{a: 1, b: [2, 3]}, {a: 2}", ["{a: 1, b: [2, 3]}", "{a: 2}"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ("'it''s, so',x", ["'it''s, so'", "x"]),
        ("a=1,null", ["a=1", "null"]),
    ],
)
def test_values_are_split_outside_of_brackets(text: str, values: list[str]) -> None:
    assert parse_grid([f"a.b={text}"]) == {"a.b": values}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ([], "nothing to vary: give --set key.path=value,value"),
        (["a.b"], "--set a.b: write key.path=value,value"),
        (["a.b="], "--set a.b=: no value"),
        (["a.b=1,,2"], "--set a.b=1,,2: an empty value; write null for no value"),
        (["a.b=[1,2"], "--set a.b=[1,2: ']' is missing"),
        (["a.b=1", "a.b=2"], "--set a.b: given twice; write all its values in one, separated by commas"),
    ],
)
def test_a_grid_that_cannot_be_read(assignments: list[str], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_grid(assignments)
    assert str(caught.value) == message


def test_values_of_a_deployment() -> None:
    assert write_grid({"a": [1, 1e-05, None, True], "b": ["x", [1, 2]]}) == {
        "a": ["1", "1e-05", "null", "true"],
        "b": ['"x"', "[1, 2]"],
    }
    for empty, named in (({"a": []}, "a"), ({}, "grid")):
        with pytest.raises(DeclarationError, match=f"^{named}: no value$"):
            write_grid(empty)


def test_every_combination_after_the_current_values(declared) -> None:
    made = plan(f"{JITTER}=1.0,3.0", f"{FLIP}=0.1,0.2")
    assert [v.label for v in made.variants] == [
        "jitter=0.0, flip=0.0",  # what the steps take where params.yaml says nothing
        "jitter=1.0, flip=0.1",
        "jitter=1.0, flip=0.2",
        "jitter=3.0, flip=0.1",
        "jitter=3.0, flip=0.2",
    ]
    assert [v.is_current for v in made.variants] == [True, False, False, False, False]
    assert len({v.name for v in made.variants}) == 5
    assert (made.method, made.metric, made.higher_is_better, made.profile) == ("toy", "accuracy", True, "small")
    assert made.variants[0].assignments() == []
    assert made.command(made.variants[2]) == f"unlabeled run toy --set {JITTER}=1.0 --set {FLIP}=0.2"


def test_the_current_combination_is_not_run_twice(declared) -> None:
    assert [v.label for v in plan(f"{K}=2,3,4").variants] == ["k=2", "k=3", "k=4"]


def test_the_same_sweep_has_the_same_folder_whatever_is_measured(declared) -> None:
    first = plan(f"{K}=2,3")
    assert first.id == plan(f"{K}=2,3", metric="accuracy").id
    assert first.id != plan(f"{K}=2,4").id
    assert re.fullmatch(r"toy-k-[0-9a-f]{6}", first.id)


def test_names_of_folders_and_keys_with_the_same_last_word(declared) -> None:
    made = plan("methods.toy.cluster.step=toy_halves", "methods.toy.self_train.step=toy_vote", f"{K}=3")
    assert made.variants[1].label == "cluster.step=toy_halves, self_train.step=toy_vote, cluster.k=3"
    made = plan("methods.toy.data=blobs", "methods.toy.paper={title: 'a/b ../c', venue: x}", f"{K}=3")
    assert "/" not in made.variants[1].name + made.id


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["methods.toy.clster.k=3,4"], "--set methods.toy.clster.k: no 'methods.toy.clster' in params.yaml; did you mean"
         " 'cluster'?"),
        (["methods.toy.cluster.kk=3,4"], "params.yaml: methods.toy.cluster.kk: step 'toy_halves' has no parameter 'kk'; "
         "did you mean 'k'?"),
        ([f"{K}=1,3,0"], f"params.yaml: {K}: input should be greater than or equal to 2, got 1\n"
         f"params.yaml: {K}: input should be greater than or equal to 2, got 0"),
        ([f"{K}=3,four"], f"params.yaml: {K}: input should be a valid integer, got 'four'"),
        ([f"{K}=2"], f"nothing to compare: params.yaml says {K}=2 already; give other values"),
        ([f"{K}=3,4,3"], f"--set {K}: 3 is written twice"),
        (["datasets.none.step=none,toy_blobs"], "--set datasets.none.step: makes no difference to 'toy', which does not use"
         " it"),
    ],
)  # fmt: skip
def test_a_grid_that_cannot_be_run(declared, assignments: list[str], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        plan(*assignments)
    assert str(caught.value) == message


def test_a_key_that_the_profile_overrides(declared) -> None:
    """All variants would be the same, and the table would say that the parameter does not matter."""
    declared(lambda content: content.update(profile="smoke"))
    with pytest.raises(DeclarationError) as caught:
        plan("datasets.blobs.n=20,30", f"{K}=3,4")
    assert str(caught.value) == (
        "--set datasets.blobs.n: makes no difference to 'toy' in profile 'smoke', where datasets.blobs.smoke.n is in "
        "force: vary that"
    )
    assert len(plan("datasets.blobs.smoke.n=20,30").variants) == 3


def test_unknown_method_and_metric_and_too_many_variants(declared) -> None:
    with pytest.raises(DeclarationError, match="unknown method 'tpy'; did you mean 'toy'"):
        plan(f"{K}=3", method="tpy")
    with pytest.raises(
        DeclarationError, match="--metric accurcy: 'toy' yields no such metric; did you mean 'accuracy'"
    ):
        plan(f"{K}=3", metric="accurcy")
    with pytest.raises(DeclarationError, match="250 variants, and 200 is the most"):
        plan(f"{K}={','.join(map(str, range(3, 253)))}")


# ---- who runs when --------------------------------------------------------------------------------------------


class Started:
    """Takes the place of a running variant; `end(name)` ends one."""

    def __init__(self, made: Plan, monkeypatch: pytest.MonkeyPatch):
        self.order: list[set[str]] = []
        self.running: dict[str, Any] = {}
        outer = self

        class Run:
            process = None

            def __init__(self, plan: Plan, variant: Any, folder: Path, environment: dict[str, str], lines: queue.Queue):
                self.variant, self.lines, self.queue = variant, [], lines
                outer.running[variant.label] = self

            def finish(self) -> Finished:
                del outer.running[self.variant.label]
                return Finished(0.0, {}, [])

            def release(self) -> None:
                raise AssertionError("none is left")

        class Lines(queue.Queue):
            def get(self, *arguments: object, **options: object) -> tuple[Any, None]:
                """All that may start have started: note who runs, and end the one that has run longest."""
                outer.order.append(set(outer.running))
                return next(iter(outer.running.values())).variant, None

        monkeypatch.setattr(sweep, "_Run", Run)
        monkeypatch.setattr(sweep.queue, "Queue", Lines)
        self.runs = sweep._Runs(made, Path("nowhere"), {}, lambda variant, line: None)


def test_the_current_values_first_then_side_by_side(declared, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(plan(f"{K}=3,4,5"), monkeypatch)
    finished = started.runs.all(2)
    assert list(finished) == [CURRENT, "01-k=3", "02-k=4", "03-k=5"]
    assert started.order == [{"k=2"}, {"k=3", "k=4"}, {"k=4", "k=5"}, {"k=5"}]


def test_a_stage_that_variants_have_in_common_is_computed_once(declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the same `k` share the clusters: the second one waits for the first, and the third need not."""
    started = Started(plan(f"{K}=3,4", f"{FLIP}=0.1,0.2,0.3"), monkeypatch)
    started.runs.all(8)
    assert started.order[:3] == [
        {"k=2, flip=0.0"},
        {"k=3, flip=0.1", "k=4, flip=0.1"},
        {"k=4, flip=0.1", "k=3, flip=0.2", "k=3, flip=0.3"},
    ]


# ---- what came of it ------------------------------------------------------------------------------------------


def compared(folder: Path, made: Plan, values: dict[str, list[float] | None]) -> comparison.Comparison:
    """The comparison of variants whose metric per seed is `values[label]`; None: it failed."""
    finished = {}
    for variant in made.variants:
        scores = values[variant.label]
        finished[variant.name] = Finished(2.0, {"ran": 3}, ["out of luck"] if scores is None else [])
        results = folder / variant.name / "results"
        results.mkdir(parents=True, exist_ok=True)
        with open(results / "toy.csv", "w") as stream:
            stream.write("arm,seed,metric,value\n")
            for seed, score in enumerate(scores or [0.5] * 3):
                stream.write(f"main,{seed},accuracy,{score}\njittered,{seed},accuracy,0.1\nmain,{seed},other,7\n")
        means = {"accuracy": float(np.mean(scores or [0.5])), "other": 7.0}
        (results / "toy.json").write_text(json.dumps({"main": means}))
    return comparison.compare(made, finished, folder)


def test_differences_to_the_current_values(declared, tmp_path: Path) -> None:
    made = plan(f"{K}=3,4,5")
    found = compared(
        tmp_path, made, {"k=2": [0.5, 0.6, 0.7], "k=3": [0.6, 0.72, 0.78], "k=4": [0.5, 0.5, 0.9], "k=5": None}
    )
    current, better, unsure, failed = (row.cells() for row in found.rows)
    assert current == ("k=2 (current)", "0.600 ± 0.248", "", "", "", "3 ran", "2 s")
    assert better == ("k=3", "0.700 ± 0.228", "+0.100 [+0.050, +0.150]", "3/3", "holds", "3 ran", "2 s")
    assert unsure[2:5] == ("+0.033 [-0.346, +0.413]", "1/3", "leans")
    assert failed[:5] == ("k=5", "failed", "", "", "")
    best = found.best()
    assert best is not None
    assert best.variant.label == "k=3"
    said = found.conclusion()
    assert said[:2] == ["best: k=3, accuracy 0.700 ± 0.228", f"apply it: unlabeled run toy --set {K}=3"]
    assert "selection on test data" in said[2]
    assert [row.variant.label for row in found.failed] == ["k=5"]


def test_less_may_be_better(declared, tmp_path: Path) -> None:
    declared(lambda c: [claim.update(higher_is_better=False) for claim in c["methods"]["toy"]["claims"]])
    found = compared(tmp_path, plan(f"{K}=3,4"), {"k=2": [0.5] * 3, "k=3": [0.4] * 3, "k=4": [0.6] * 3})
    assert [row.cells()[4] for row in found.rows] == ["", "holds", "fails"]
    assert found.conclusion()[0] == "best: k=3, accuracy 0.400 ± 0.000"


def test_nothing_to_apply(declared, tmp_path: Path) -> None:
    found = compared(tmp_path, plan(f"{K}=3"), {"k=2": [0.5] * 3, "k=3": [0.5] * 3})
    assert "the current values; there is nothing to change" in found.conclusion()[0]
    assert not any("apply" in line for line in found.conclusion())


def test_current_values_that_failed_leave_the_others_uncompared(declared, tmp_path: Path) -> None:
    found = compared(tmp_path, plan(f"{K}=3"), {"k=2": None, "k=3": [0.5] * 3})
    assert found.rows[1].cells()[1:5] == ("0.500 ± 0.000", "", "", "")
    assert found.conclusion()[1] == f"apply it: unlabeled run toy --set {K}=3"
    assert comparison.draw(found) is None  # one point is no curve


def test_files(declared, tmp_path: Path) -> None:
    made = plan(f"{K}=3,4", f"{FLIP}=0.1,0.2")
    scores = {v.label: [0.5 + 0.01 * i, 0.6, 0.7] for i, v in enumerate(made.variants)}
    found = compared(tmp_path, made, {**scores, "k=4, flip=0.2": None})
    picture, as_json, as_csv = comparison.write_files(found)
    assert (picture.name, as_json.name, as_csv.name) == ("accuracy.png", "accuracy.json", "accuracy.csv")
    with Image.open(io.BytesIO(picture.read_bytes())) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    content = json.loads(as_json.read_text())
    assert content["best"] == "03-k=4-flip=0.1"
    assert content["apply"] == f"unlabeled run toy --set {K}=4 --set {FLIP}=0.1"
    assert content["variants"][1]["set"] == {K: 3, FLIP: 0.1}
    assert content["variants"][1]["values"] == {"0": 0.51, "1": 0.6, "2": 0.7}
    rows = list(csv.DictReader(as_csv.read_text().splitlines()))
    assert [row["variant"] for row in rows] == [v.name for v in made.variants]
    assert [row[FLIP] for row in rows] == ["0.0", "0.1", "0.2", "0.1", "0.2"]
    assert rows[0]["difference"] == ""
    assert float(rows[1]["difference"]) == pytest.approx(0.01 / 3)
    assert rows[4]["error"] == "out of luck"
    assert rows[4]["mean"] == ""


def test_a_line_per_value_of_the_second_key(declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import figures

    drawn: list[Any] = []
    genuine = figures.subplots
    monkeypatch.setattr(figures, "subplots", lambda **options: drawn.append(genuine(**options)) or drawn[-1])
    made = plan(f"{K}=20,3", f"{FLIP}=0.0,0.2")
    found = compared(tmp_path, made, {v.label: [0.1 * i, 0.2 * i] for i, v in enumerate(made.variants)})
    assert comparison.draw(found) is not None
    axis = drawn[0][1]
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()}
    assert curves["flip = 0.0"] == ([2, 3, 20], pytest.approx([0, 0.45, 0.15]))  # sorted, the current values among them
    assert curves["flip = 0.2"] == ([3, 20], pytest.approx([0.6, 0.3]))
    assert axis.get_xscale() == "log"
    assert (axis.get_xlabel(), axis.get_ylabel()) == (K, "accuracy")
    assert len(axis.collections) == 2  # a band for each
    names = plan("methods.toy.pretrain.step=toy_scaled,none")
    found = compared(tmp_path / "names", names, {v.label: [0.5] for v in names.variants})
    assert comparison.draw(found) is None


def test_a_run_for_each_variant_whether_it_ran_or_was_restored(
    first_run, declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    shutil.copy2(first_run[0].folder / ".unlabeled" / "mlflow.db", tmp_path)  # sooner than to make one
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (former,) = client.search_experiments(filter_string="name = 'toy'")
    client.rename_experiment(former.experiment_id, "toy of the first run")
    experiment = client.create_experiment("toy", (tmp_path / "artifacts").as_uri())
    made = plan(f"{K}=3,4", f"{FLIP}=0.1")
    scores: dict[str, list[float] | None]
    scores = {"k=2, flip=0.0": [0.5, 0.6], "k=3, flip=0.1": [0.6, 0.8], "k=4, flip=0.1": None}
    warnings, pages = list[str](), list[str | None]()
    monkeypatch.setenv("UNLABELED_MLFLOW_PAGES", "http://127.0.0.1:5000")

    def log(values: dict[str, list[float] | None]) -> tuple[list[Any], list[Any]]:
        found = compared(tmp_path, made, values)
        files = comparison.write_files(found)
        pages.append(sweep_tracking.log_sweep(found, files, warnings.append, flow_run="the flow run"))
        tables = client.search_runs([experiment], f"tags.kind = 'sweep' and tags.sweep = '{made.id}'")
        return tables, client.search_runs([experiment], sweep_tracking.where(found))

    (table,), variants = log(scores)
    names = {"k=2, flip=0.0 (current)": "FINISHED", "k=3, flip=0.1": "FINISHED", "k=4, flip=0.1": "FAILED"}
    assert {run.info.run_name: run.info.status for run in variants} == names
    assert {run.data.tags["mlflow.parentRunId"] for run in variants} == {table.info.run_id}
    assert {run.data.tags["prefect.flow_run"] for run in [table, *variants]} == {"the flow run"}
    assert table.info.status == "FINISHED"
    assert table.data.tags["best"] == "k=3, flip=0.1"
    assert {file.path for file in client.list_artifacts(table.info.run_id)} == {
        "accuracy.png",
        "accuracy.json",
        "accuracy.csv",
    }
    current, better, failed = sorted(variants, key=lambda run: run.info.run_name)
    assert better.data.params == {"cluster.k": "3", "self_train.flip": "0.1"}  # as the runs of evaluations name them
    assert better.data.tags["variant"] == f"{K}=3 {FLIP}=0.1"
    assert better.data.metrics["accuracy"] == pytest.approx(0.7)
    assert better.data.metrics["other"] == 7.0
    assert better.data.metrics["accuracy.over.current.difference"] == pytest.approx(0.15)
    assert current.data.params == {"cluster.k": "2", "self_train.flip": "0.0"}
    assert current.data.metrics == {"accuracy": pytest.approx(0.55), "other": 7.0}
    assert (failed.data.metrics, failed.data.tags["error"]) == ({}, "out of luck")
    # The same results once more, and after a death in the middle; then others.
    assert [len(runs) for runs in log(scores)] == [1, 3]
    ids = "%22%2C%20%22".join(run.info.run_id for run in (current, better, failed))
    address = f"http://127.0.0.1:5000/#/compare-runs?runs=%5B%22{ids}%22%5D&experiments=%5B%22{experiment}%22%5D"
    assert pages == [address, address]
    client.set_terminated(table.info.run_id, "KILLED")
    (again,), variants = log(scores)
    assert (again.info.status, len(variants)) == ("FINISHED", 3)
    assert again.info.run_id != table.info.run_id
    assert [len(runs) for runs in log({**scores, "k=4, flip=0.1": [0.9, 0.9]})] == [2, 6]
    assert not warnings


def test_a_sweep_that_mlflow_does_not_take(declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = compared(tmp_path, plan(f"{K}=3"), {"k=2": [0.5], "k=3": [0.6]})
    warnings: list[str] = []
    assert sweep_tracking.log_sweep(found, [], warnings.append) is None
    (warning,) = warnings
    assert warning.startswith("MLflow at http://127.0.0.1:9 did not take the sweep (")
    assert warning.endswith("; the same command again logs it")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///{cwd}/a.db", "sqlite:///{cwd}/a.db"),
        ("sqlite:///a/b.db", "sqlite:///{cwd}/a/b.db"),
        ("mlruns", "file://{cwd}/mlruns"),
        ("file:mlruns", "file://{cwd}/mlruns"),
        ("file:///abs/mlruns", "file:///abs/mlruns"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://u:p@host/mlflow", "postgresql://u:p@host/mlflow"),
        ("databricks", "databricks"),
    ],
)
def test_mlflow_address_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep.absolute(uri.format(cwd=tmp_path)) == expected.format(cwd=tmp_path)


# ---- whole sweeps ---------------------------------------------------------------------------------------------


def states(errors: str) -> dict[str, set[str]]:
    """`{variant: states of its stages}` of the lines that a sweep prints."""
    found: dict[str, set[str]] = {}
    for line in errors.splitlines():
        label, _, said = line.strip().partition(": ")
        if said.split()[:1] and said.split()[0] in STATES:
            found.setdefault(label, set()).add(f"{said.split()[0]} {said.split()[1].split('@')[0]}")
    return found


OF_THE_WORKSPACE = (
    "params.yaml",
    "dvc.lock",
    "code.yaml",
    "results",
    "artifacts",
    "tasks",
    "flows",
    "data",
    ".gitignore",
)


@pytest.mark.slow
def test_sweep_apply_and_go_on(ran_workspace) -> None:
    """params.yaml has moved on since the last run, one value fails, and the best one is better than the current."""
    ran_workspace.edit("params.yaml", "k: 2,", "k: 2, jitter: 3.0,")
    before, status = ran_workspace.contents(*OF_THE_WORKSPACE), ran_workspace.git("status", "--porcelain").stdout
    line = ["sweep", "toy", "--set", f"{JITTER}=0.0,9.0", "--set", f"{FAIL}=false,true"]
    first = ran_workspace.unlabeled(*line)
    assert first.returncode == 1, first.stdout + first.stderr
    assert ran_workspace.contents(*OF_THE_WORKSPACE) == before
    assert ran_workspace.git("status", "--porcelain").stdout == status
    assert not ran_workspace.processes()
    seen = states(first.stderr)
    assert len(seen) == 5
    for restored in seen.values():  # the change does not touch it
        assert restored >= {"restored prepare", "restored checkpoint", "restored pretrain"}
    assert "ran cluster" in seen["jitter=3.0, fail=false"]
    assert "failed self_train" in seen["jitter=0.0, fail=true"]
    computed = [label for label in seen if label.startswith("jitter=9.0") and "ran cluster" in seen[label]]
    assert len(computed) == 1  # the clusters that two variants share
    assert re.search(r"jitter=3.0, fail=false \(current\)\s+0\.\d{3} ± ", first.stdout)
    assert re.search(r"jitter=0.0, fail=false\s+1\.000 ± 0\.000\s+\+0\.\d{3} \[", first.stdout)
    assert re.search(r"jitter=0.0, fail=true\s+failed", first.stdout)
    assert "jitter=0.0, fail=true: self_train@toy: loss is nan at step 3; lower the rate" in first.stderr
    assert "Traceback" not in first.stderr
    assert "selection on test data" in first.stdout
    command = re.search(r"^apply it: (unlabeled run toy .*)$", first.stdout, re.MULTILINE)
    assert command is not None
    for path in re.search(r"^files: (.*)$", first.stdout, re.MULTILINE)[1].split():  # type: ignore[index]
        assert (ran_workspace.folder / path).stat().st_size > 100
    # one more time: what is finished is taken from there, what failed is tried again
    again = ran_workspace.unlabeled(*line)
    assert again.returncode == 1
    assert not {s for seen in states(again.stderr).values() for s in seen if s.startswith("ran")}
    assert "failed self_train" in states(again.stderr)["jitter=0.0, fail=true"]
    applied = ran_workspace.run(*shlex.split(command[1]))
    assert applied.returncode == 0, applied.stderr
    assert re.search(r"^\d+ restored, \d+ fresh in", applied.stdout, re.MULTILINE), applied.stdout
    assert "jitter: 0.0" in ran_workspace.read("params.yaml")
    # Without jitter all is as in the workspace's first run, so that this evaluation is restored, and is not logged.
    assert "restored evaluate" in seen["jitter=0.0, fail=false"]
    assert runs_in_mlflow(ran_workspace.folder) == {
        ("", ""),  # the first run of the workspace
        ("toy-jitter-fail", "current values"),
        ("toy-jitter-fail", f"{JITTER}=9.0 {FAIL}=false"),
    }
    # For comparison every variant has a run, once although the sweep was run twice.
    assert variants_in_mlflow(ran_workspace.folder) == {
        "jitter=3.0, fail=false (current)": "FINISHED",
        "jitter=0.0, fail=false": "FINISHED",
        "jitter=0.0, fail=true": "FAILED",
        "jitter=9.0, fail=false": "FINISHED",
        "jitter=9.0, fail=true": "FAILED",
    }


def runs_in_mlflow(folder: Path) -> set[tuple[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/.unlabeled/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`unlabeled.parent` = 'yes'")
    for run in runs:
        assert run.info.artifact_uri is not None
        assert "/sweeps/" not in run.info.artifact_uri
    return {(r.data.tags.get("sweep", "").rpartition("-")[0], r.data.tags.get("variant", "")) for r in runs}


def variants_in_mlflow(folder: Path) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/.unlabeled/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'variant'")
    found = {str(run.info.run_name): run.info.status for run in runs}
    assert len(found) == len(runs)
    return found


def of_sweep(workspace) -> list[psutil.Process]:
    """Live processes that work in a variant's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(workspace.folder / ".unlabeled" / "sweeps")
            if inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def sides(workspace) -> list[psutil.Process]:
    """The drivers of the variants that run now."""
    return [process for process in of_sweep(workspace) if "flows.cli" in process.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_end_of_the_driver_ends_all_variants(ran_workspace, wait_until, signum: signal.Signals) -> None:
    before = ran_workspace.contents(*OF_THE_WORKSPACE)
    line = ("sweep", "toy", "--set", f"{SECONDS}=160,170", "--jobs", "2", "--verbose")
    process = ran_workspace.start("unlabeled", *line)
    try:
        training = re.compile(r"seconds=(160|170): self_train@toy (\w+ seed \d)")
        wait_until(lambda: len(sides(ran_workspace)) == 2, 240, "two variants side by side")
        wait_until(lambda: training.search(ran_workspace.output()), 120, "one of them trains")
        (shared,) = {side.environ()[cores.VARIABLE] for side in sides(ran_workspace)}
        assert Path(shared).is_relative_to(ran_workspace.folder / ".unlabeled" / "sweeps")
        assert len(set(training.findall(ran_workspace.output()))) <= cores.count()
        refused = ran_workspace.unlabeled(*line)
        assert refused.returncode == 2
        going_on = r"error: the same sweep is going on in \.unlabeled/sweeps/toy-seconds-\w+; wait for it, or stop it\n"
        assert re.fullmatch(going_on, refused.stderr)
        os.kill(process.pid, signum)
        assert wait_until(lambda: process.poll() is not None, 30, "the sweep ends") <= 5
        wait_until(lambda: not of_sweep(ran_workspace) and not ran_workspace.processes(), 5, "all processes end")
    finally:
        for left in of_sweep(ran_workspace):
            left.kill()
    if signum == signal.SIGINT:
        assert process.wait() == 130
        assert "interrupted; run the same command again to go on" in ran_workspace.output()
        assert "Traceback" not in ran_workspace.output()
    assert ran_workspace.contents(*OF_THE_WORKSPACE) == before


def test_bad_input_is_one_line_and_starts_nothing(toy_workspace) -> None:
    ((code, _, said), (missing, _, usage), (unknown, _, nearest)) = toy_workspace.commands(
        f"sweep toy --set {K}=1,3", "sweep toy", f"sweep tpy --set {K}=3"
    )
    assert (code, said) == (2, f"error: params.yaml: {K}: input should be greater than or equal to 2, got 1\n")
    assert (missing, unknown, nearest) == (2, 2, "error: unknown method 'tpy'; did you mean 'toy'?\n")
    assert "--set" in usage
    assert not (toy_workspace.folder / ".unlabeled").exists()
