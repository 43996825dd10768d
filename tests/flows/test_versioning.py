"""dvc.yaml is in step with the code, and DVC's own commands work on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML

from flows import versioning
from tasks import cores
from tasks.params import METHOD_STAGES

STAGES = ["fingerprint", "prepare@none", "prepare@blobs", "checkpoint@none", "checkpoint@scale"] + [
    f"{stage}@toy" for stage in METHOD_STAGES
]


@pytest.fixture(scope="module")
def committed(first_run, tmp_path_factory):
    """A workspace that has run and has been committed, as after the first day of work."""
    workspace = first_run[0].copy(tmp_path_factory.mktemp("committed") / "workspace")
    workspace.git("add", "-A")
    assert workspace.git("commit", "-qm", "first results").returncode == 0
    return workspace


def test_stages_are_those_of_dvc_yaml(committed, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = committed.dvc("stage", "list", "--name-only").stdout.split()
    monkeypatch.chdir(committed.folder)
    with versioning.Graph() as graph:
        everything, toy = graph.stages(None), graph.stages(["toy"])
        assert graph.stages(["toy", "none such"]) is None
    assert everything is not None
    assert toy is not None
    assert sorted(everything) == sorted(listed) == sorted(STAGES)
    assert set(toy) == {s for s in STAGES if not s.endswith("@none")}
    assert everything[0] == toy[0] == "fingerprint"


def test_compiled_modules_are_no_dependency(committed) -> None:
    """Python writes them where it likes; dvc.lock must not depend on that."""
    assert list((committed.folder / "tasks").rglob("*.pyc"))
    (committed.folder / "tasks" / "__pycache__" / "more.cpython-311.pyc").write_bytes(b"x")
    assert committed.dvc("status").stdout.strip() == "Data and pipelines are up to date."


def test_upstream(committed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dependency of a stage in dvc.lock is the output of a stage upstream of it, which comes before it."""
    lock = committed.lock()
    maker = {out["path"]: stage for stage, entry in lock.items() for out in entry["outs"]}
    monkeypatch.chdir(committed.folder)
    with versioning.Graph() as graph:
        order = graph.stages(None) or []
        for stage, entry in lock.items():
            named = {maker[dep["path"]] for dep in entry.get("deps", []) if dep["path"] in maker}
            named |= {maker[path] for path in entry.get("params", {}) if path in maker}
            upstream = graph.upstream(stage)
            assert upstream == named.union(*(graph.upstream(s) for s in named)), stage
            assert all(order.index(s) < order.index(stage) for s in upstream)


def test_outputs_and_parameters_of_a_stage_are_its_own(committed) -> None:
    lock = committed.lock()
    for stage in METHOD_STAGES:
        entry = lock[f"{stage}@toy"]
        assert entry["cmd"] == f"python -m tasks {stage} toy"
        assert f"artifacts/toy/{stage}" in [out["path"] for out in entry["outs"]]
        params = entry["params"]["params.yaml"]
        assert {"profile", "seeds", "methods.toy.seeds", f"methods.toy.{stage}"} <= set(params)
        assert not {f"methods.toy.{other}" for other in METHOD_STAGES if other != stage} & set(params)
        assert list(entry["params"]["code.yaml"]) == [f"methods.toy.{stage}"]


def test_lock_hashes(committed) -> None:
    hashes = versioning.lock_hashes(committed.folder / "dvc.lock")
    assert set(hashes) == set(STAGES)
    assert set(hashes["evaluate@toy"]) == {"artifacts/toy/evaluate", "results/toy.json", "results/toy.csv"}


def test_metrics_plots_and_graph(committed) -> None:
    shown = committed.dvc("metrics", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    data = json.loads(shown.stdout)[""]["data"]["results/toy.json"]["data"]
    assert data["main"]["accuracy"] == 1.0
    assert data["claims"]["accuracy > jittered"]["verdict"] in ("holds", "leans")
    plots = committed.dvc("plots", "show", "--out", "plots")
    assert plots.returncode == 0, plots.stderr
    page = (committed.folder / "plots" / "index.html").read_text()
    assert "flipped" in page
    assert '"seed"' in page
    graph = committed.dvc("dag", "--dot")
    assert graph.returncode == 0, graph.stderr
    edges = set(re.findall(r'"([\w@]+)" -> "([\w@]+)"', graph.stdout))
    assert ("self_train@toy", "evaluate@toy") in edges
    assert ("checkpoint@scale", "pretrain@toy") in edges
    assert ("prepare@blobs", "checkpoint@scale") in edges


def test_metrics_diff_shows_the_change(committed) -> None:
    original = committed.read("results/toy.json")
    changed = json.loads(original)
    changed["main"]["accuracy"] = 0.25
    (committed.folder / "results" / "toy.json").write_text(json.dumps(changed))
    try:
        result = committed.dvc("metrics", "diff", "--json")
    finally:
        (committed.folder / "results" / "toy.json").write_text(original)
    assert result.returncode == 0, result.stderr
    difference = json.loads(result.stdout)["results/toy.json"]["main.accuracy"]
    assert difference["new"] == 0.25
    assert difference["old"] == 1.0


@pytest.mark.slow
def test_experiment(committed, tmp_path) -> None:
    workspace = committed.copy(tmp_path / "workspace")
    before = workspace.lock()
    result = workspace.run("dvc", "exp", "run", "-S", "methods.toy.cluster.k=3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert YAML(typ="safe").load(workspace.read("params.yaml"))["methods"]["toy"]["cluster"]["k"] == 3
    after = workspace.lock()
    ran = {stage for stage in after if after[stage] != before[stage]}
    assert "cluster@toy" in ran
    assert not ran & {"prepare@blobs", "checkpoint@scale", "pretrain@toy"}
    assert workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    listed = workspace.dvc("exp", "show", "--csv")
    assert "methods.toy.cluster.k" in listed.stdout.splitlines()[0]


# ---- reading what DVC and the runner say ----------------------------------------------------------------------


def test_dvc_hands_its_commands_to_warm_processes(ran_workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one private name of DVC that we use: if it moves, stages would start cold and this fails."""
    called: list[list[str]] = []

    def run_stage(arguments: list[str], on_line: Callable[[str], None], environment: dict[str, str]) -> int:
        called.append(arguments)
        on_line("error: self_train@toy: no")
        return 2

    monkeypatch.chdir(ran_workspace.folder)
    monkeypatch.setattr(versioning.warm, "run_stage", run_stage)
    before = ran_workspace.contents("artifacts", "results", "dvc.lock")
    with versioning.Graph() as graph:
        assert graph.reproduce("self_train@toy") == "fresh"  # nothing to call
    assert called == []
    ran_workspace.edit("params.yaml", "flip: 0.4", "flip: 0.2")
    with versioning.Graph() as graph:
        with pytest.raises(versioning.StageFailed, match=r"^self_train@toy: no$") as caught:
            graph.reproduce("self_train@toy")
        with pytest.raises(versioning.StageFailed):  # as after a crash: it is not taken for done
            graph.reproduce("self_train@toy")
    assert called == [["self_train", "toy"]] * 2
    assert (caught.value.bad_input, caught.value.transient) == (True, False)
    assert ran_workspace.contents("artifacts", "results", "dvc.lock") == before


@pytest.mark.parametrize(("code", "transient", "bad_input"), [(1, False, False), (2, False, True), (-9, True, False)])
def test_what_an_exit_code_means(
    ran_workspace, monkeypatch: pytest.MonkeyPatch, code: int, transient: bool, bad_input: bool
) -> None:
    monkeypatch.chdir(ran_workspace.folder)
    monkeypatch.setattr(versioning.warm, "run_stage", lambda *arguments: code)
    ran_workspace.edit("params.yaml", "flip: 0.4", "flip: 0.2")
    with versioning.Graph() as graph, pytest.raises(versioning.StageFailed) as caught:
        graph.reproduce("self_train@toy")
    assert (caught.value.bad_input, caught.value.transient) == (bad_input, transient)
    assert str(caught.value)


def test_failure_survives_the_way_between_processes() -> None:
    failure = versioning.StageFailed("x", ["a", "b; c"], True, False)
    make, arguments = failure.__reduce__()
    again = make(*arguments)
    assert (again.stage, again.messages, again.bad_input, again.transient) == ("x", ["a", "b; c"], True, False)
    assert str(again) == "a\nb; c"


def test_stages_are_told_which_cores_to_share(committed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server is older than what the flow sets; without the cores every stage would take all of them."""
    told: list[dict[str, str]] = []

    def run_stage(arguments: list[str], on_line: Callable[[str], None], environment: dict[str, str]) -> int:
        told.append(environment)
        return 1

    monkeypatch.chdir(committed.folder)
    monkeypatch.setattr(versioning.warm, "run_stage", run_stage)
    monkeypatch.setenv(cores.VARIABLE, "where the cores are")
    monkeypatch.setenv(versioning.FLOW_RUN, "1234")
    with versioning.Graph() as graph, pytest.raises(versioning.StageFailed):
        graph.reproduce("cluster@toy", force=True)
    assert told == [{cores.VARIABLE: "where the cores are", versioning.FLOW_RUN: "1234"}]
