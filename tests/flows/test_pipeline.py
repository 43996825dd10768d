"""`unlabeled run` on real DVC and Prefect: the same result as `dvc repro`, whatever happens on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

STALE_BY_SELF_TRAIN = {"self_train@toy", "evaluate@toy"}
STATES = ("ran", "restored", "failed", "skipped")


def states(errors: str) -> dict[str, str]:
    """`{stage: state}` of the lines that a run prints."""
    words = [line.split() for line in errors.splitlines()]
    return {w[1]: w[0] for w in words if len(w) > 1 and w[0] in STATES}


def outputs(lock: dict[str, Any]) -> dict[str, list]:
    """Stage -> paths and hashes of its outputs."""
    return {stage: [(out["path"], out["md5"]) for out in entry["outs"]] for stage, entry in lock.items()}


def runner(workspace) -> list:
    """The process of the stage that runs now: forked from the driver's fork server, with workers of its own."""
    found = {p.pid: p for p in workspace.processes()}
    try:
        served = {pid for pid, p in found.items() if any("forkserver" in word for word in p.cmdline())}
        server = {pid for pid in served if found[pid].ppid() not in served}
        return [found[pid] for pid in served if found[pid].ppid() in server and found[pid].children()]
    except psutil.NoSuchProcess:
        return []  # one ended while we looked: look again


def slowly(seconds: float) -> Callable[[dict], object]:
    return lambda content: content["methods"]["toy"]["self_train"].update(seconds=seconds)


# ---- the flow and dvc repro -----------------------------------------------------------------------------------


def test_first_run_runs_everything_and_says_so(first_run) -> None:
    workspace, said = first_run
    ran = states(said)
    assert ran == dict.fromkeys(ran, "ran")
    assert set(ran) | {"fingerprint"} == set(workspace.lock())
    assert "toy     accuracy  1.000 ± 0.000" in said
    assert "holds" in said or "leans" in said
    assert not workspace.processes()
    assert (workspace.folder / ".unlabeled" / "fresh.json").exists(), "the next run has to ask DVC"


def test_dvc_has_nothing_to_do_after_the_flow(ran_workspace) -> None:
    before = ran_workspace.contents("dvc.lock", "artifacts", "results", "code.yaml")
    status = ran_workspace.dvc("status")
    assert status.stdout.strip() == "Data and pipelines are up to date."
    repro = ran_workspace.dvc("repro")
    assert repro.returncode == 0
    assert "Running stage" not in repro.stdout
    assert repro.stdout.count("didn't change, skipping") == len(ran_workspace.lock())
    assert ran_workspace.contents("dvc.lock", "artifacts", "results", "code.yaml") == before


def test_second_run_is_fresh_and_needs_no_server(ran_workspace) -> None:
    before = ran_workspace.contents("dvc.lock", "artifacts", "results")
    result = ran_workspace.unlabeled("run", "--all", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert result.returncode == 0, result.stderr
    assert f"{len(ran_workspace.lock())} fresh" in result.stdout
    assert states(result.stderr) == {}
    assert ran_workspace.contents("dvc.lock", "artifacts", "results") == before


def test_empty_clone_takes_everything_from_the_remote(first_run, tmp_path) -> None:
    """`--pull` executes no step, and only what the remote has lost is computed."""
    origin = first_run[0].copy(tmp_path / "origin")
    remote = tmp_path / "remote"
    assert origin.dvc("remote", "add", "--default", "store", str(remote)).returncode == 0
    assert origin.dvc("push", "--run-cache").returncode == 0
    (lost,) = (out["md5"] for out in origin.lock()["cluster@toy"]["outs"])
    (remote / "files" / "md5" / lost[:2] / lost[2:]).unlink()
    shutil.rmtree(origin.folder / "artifacts")
    shutil.rmtree(origin.folder / ".dvc" / "cache")
    before = origin.read("dvc.lock")
    result = origin.unlabeled("run", "--all", "--pull")
    assert result.returncode == 0, result.stderr
    found = states(result.stderr)
    assert found.pop("cluster@toy") == "ran"
    assert found == dict.fromkeys(found, "restored")
    assert len(found) == len(origin.lock()) - 2  # code.yaml was there
    assert origin.read("dvc.lock") == before
    assert origin.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    assert recorded_task_runs(origin) == {"COMPLETED": len(origin.lock()) - 1}


def recorded_task_runs(workspace) -> dict[str, int]:
    """Of the last flow run, as it stands in the database of the temporary Prefect server."""
    with sqlite3.connect(Path(workspace.environment["PREFECT_HOME"]) / "prefect.db") as database:
        (last,) = database.execute("SELECT id FROM flow_run ORDER BY start_time DESC LIMIT 1").fetchone()
        return dict(
            database.execute("SELECT state_type, count(*) FROM task_run WHERE flow_run_id = ? GROUP BY 1", (last,))
        )


def test_pull_without_a_remote(ran_workspace) -> None:
    shutil.rmtree(ran_workspace.folder / "artifacts" / "toy" / "evaluate")
    result = ran_workspace.unlabeled("run", "--all", "--pull")
    assert result.returncode == 1
    said = "error: --pull: there is no default DVC remote; add one with: dvc remote add --default NAME URL\n"
    assert result.stderr == said


@pytest.mark.slow
def test_dvc_repro_on_one_core_elsewhere_gives_the_same_lock(first_run, cloned_workspace) -> None:
    """Other driver, other folder, one core instead of all: dvc.lock is the same to the byte, and the flow has nothing to do."""
    core = str(min(os.sched_getaffinity(0)))
    result = cloned_workspace.run("taskset", "-c", core, "dvc", "repro")
    assert result.returncode == 0, result.stdout + result.stderr
    assert cloned_workspace.read("dvc.lock") == first_run[0].read("dvc.lock")
    assert cloned_workspace.contents("artifacts", "results") == first_run[0].contents("artifacts", "results")
    after = cloned_workspace.unlabeled("run", "--all")
    assert after.returncode == 0
    assert (
        f"{len(cloned_workspace.lock())} fresh; " in after.stdout
        or f"{len(cloned_workspace.lock())} fresh in" in after.stdout
    )
    assert cloned_workspace.read("dvc.lock") == first_run[0].read("dvc.lock")


@pytest.mark.slow
def test_one_core_and_all_cores_under_the_flow(first_run, cloned_workspace) -> None:
    core = str(min(os.sched_getaffinity(0)))
    result = cloned_workspace.run("taskset", "-c", core, "unlabeled", "run", "toy")
    assert result.returncode == 0, result.stderr
    own, other = cloned_workspace.lock(), first_run[0].lock()
    assert set(other) - set(own) == {"prepare@none", "checkpoint@none"}  # named by no method
    assert {stage: other[stage] for stage in own} == own


@pytest.mark.slow
def test_jobs_of_stages_side_by_side_share_the_cores(ran_workspace) -> None:
    """Two stages of six jobs of a second each, on one core: twelve seconds."""

    def twice(content: dict) -> None:
        slowly(1.0)(content)
        content["methods"]["twin"] = content["methods"]["toy"]

    ran_workspace.declare(twice)
    result = ran_workspace.unlabeled("run", "--all", "--jobs", "2", UNLABELED_JOBS="1")
    assert result.returncode == 0, result.stderr
    took = re.findall(r"ran +self_train@\w+ +([\d.]+) s", result.stderr)
    assert len(took) == 2, result.stderr
    assert max(map(float, took)) >= 11.0


@pytest.mark.slow
def test_change_of_one_arm_and_back(ran_workspace) -> None:
    """Only the stage that names the arm and what follows is stale; the way back is restored and not logged."""
    first = ran_workspace.lock()
    key = "methods.toy.self_train.arms.flipped.flip"
    there = ran_workspace.unlabeled("run", "toy", "--set", f"{key}=0.1")
    assert there.returncode == 0, there.stderr
    assert states(there.stderr) == dict.fromkeys(STALE_BY_SELF_TRAIN, "ran")
    second = ran_workspace.lock()
    assert {stage for stage in first if first[stage] != second[stage]} == STALE_BY_SELF_TRAIN | {"fingerprint"}
    assert {s for s in first if outputs(first)[s] != outputs(second)[s]} == STALE_BY_SELF_TRAIN
    assert ran_workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    back = ran_workspace.unlabeled("run", "toy", "--set", f"{key}=0.4")
    assert back.returncode == 0, back.stderr
    assert states(back.stderr) == dict.fromkeys(STALE_BY_SELF_TRAIN, "restored")
    assert ran_workspace.lock() == first
    assert logged_parents(ran_workspace) == 2


def logged_parents(workspace) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace.folder}/.unlabeled/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    return len(client.search_runs([experiment.experiment_id], "tags.`unlabeled.parent` = 'yes'"))


# ---- failures -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_failure_of_one_method_does_not_stop_another(ran_workspace) -> None:
    def fail_and_add(content: dict) -> None:
        methods = content["methods"]
        methods["second"] = {**methods["toy"], "self_train": {"step": "toy_vote", "arms": {"flipped": {"flip": 0.4}}}}
        methods["toy"]["self_train"]["fail"] = True

    before = ran_workspace.lock()
    files = ran_workspace.contents("artifacts/toy", "results/toy.json", "results/toy.csv")
    ran_workspace.declare(fail_and_add)
    result = ran_workspace.unlabeled("run", "--all")
    assert result.returncode == 1
    seen = states(result.stderr)
    assert seen["self_train@toy"] == "failed"
    assert seen["evaluate@second"] == "ran"
    assert "evaluate@toy" not in {stage for stage, state in seen.items() if state == "ran"}
    assert "error: self_train@toy: loss is nan at step 3; lower the rate" in result.stderr
    assert "Traceback" not in result.stderr
    after = ran_workspace.lock()
    assert {stage: after[stage] for stage in before if stage != "fingerprint"} == {
        stage: entry for stage, entry in before.items() if stage != "fingerprint"
    }
    assert ran_workspace.contents("artifacts/toy", "results/toy.json", "results/toy.csv") == files
    # Equal declarations of equal methods give equal results.
    assert outputs(after)["cluster@second"][0][1] == outputs(after)["cluster@toy"][0][1]
    assert (ran_workspace.folder / "results/second.json").is_file()
    # A schedule's run is not green either.
    flow = "from flows.pipeline import pipeline; s = pipeline(return_state=True); print(s.type.value, s.message)"
    scheduled = ran_workspace.run(sys.executable, "-c", flow)
    assert re.match(r"FAILED \d+ fresh, 1 failed, 1 skipped; self_train@toy: loss is nan at step 3", scheduled.stdout)


@pytest.mark.slow
def test_killed_runner_is_started_again(ran_workspace, wait_until) -> None:
    """As when memory runs out: the stage is tried again, and gives the hashes of an undisturbed run."""
    before = outputs(ran_workspace.lock())
    ran_workspace.declare(slowly(4.0))
    process = ran_workspace.start("unlabeled", "run", "toy")
    wait_until(lambda: runner(ran_workspace), 120, "self_train starts")
    runner(ran_workspace)[0].send_signal(signal.SIGKILL)
    assert process.wait(timeout=240) == 0, ran_workspace.output()
    assert states(ran_workspace.output())["self_train@toy"] == "ran"
    after = outputs(ran_workspace.lock())
    # How long it waits changes its parameters, not its result.
    assert {stage: outs for stage, outs in after.items() if stage != "fingerprint"} == {
        stage: outs for stage, outs in before.items() if stage != "fingerprint"
    }
    wait_until(lambda: not ran_workspace.processes(), 5, "all processes end")


@pytest.mark.slow
def test_killed_driver(ran_workspace, wait_until) -> None:
    """Everything that it started ends with it, and the next run ends with the undisturbed hashes."""
    before = outputs(ran_workspace.lock())
    ran_workspace.declare(slowly(4.0))
    process = ran_workspace.start("unlabeled", "run", "toy")
    wait_until(lambda: runner(ran_workspace), 120, "self_train starts")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    wait_until(lambda: not ran_workspace.processes(), 5, "all processes end")
    result = ran_workspace.unlabeled("run", "toy")
    assert result.returncode == 0, result.stdout + result.stderr
    after = outputs(ran_workspace.lock())
    assert {stage: outs for stage, outs in after.items() if stage != "fingerprint"} == {
        stage: outs for stage, outs in before.items() if stage != "fingerprint"
    }
    assert ran_workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_second_run_is_refused_and_ctrl_c_ends_the_first(ran_workspace, wait_until) -> None:
    before = ran_workspace.contents("artifacts", "results")
    lock = ran_workspace.lock()
    ran_workspace.declare(slowly(120.0))
    process = ran_workspace.start("unlabeled", "run", "toy")
    wait_until(lambda: runner(ran_workspace), 120, "self_train starts")
    during = ran_workspace.contents("dvc.lock", "params.yaml", "code.yaml")
    second = ran_workspace.unlabeled("run", "toy", "--set", "methods.toy.cluster.k=3")
    assert second.returncode == 2
    assert f"error: another run is going on in {ran_workspace.folder} (process {process.pid}, since " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert ran_workspace.contents("dvc.lock", "params.yaml", "code.yaml") == during
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    took = wait_until(lambda: process.poll() is not None, 30, "the run ends")
    assert took <= 5
    assert process.wait() == 130
    wait_until(lambda: not ran_workspace.processes(), 5, "all processes end")
    assert "interrupted; run the same command again to go on" in ran_workspace.output()
    assert "Traceback" not in ran_workspace.output()
    assert ran_workspace.contents("artifacts", "results") == before
    assert {s: e for s, e in ran_workspace.lock().items() if s != "fingerprint"} == {
        s: e for s, e in lock.items() if s != "fingerprint"
    }
    # and nothing is in the way of the next run
    ran_workspace.declare(slowly(0.0))
    again = ran_workspace.unlabeled("run", "toy")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_timeout_fails_the_stage_without_another_try(ran_workspace, wait_until) -> None:
    def slow(content: dict) -> None:
        slowly(120.0)(content)
        content["resources"] = {"default": {"timeout_minutes": 0.05}}

    ran_workspace.declare(slow)
    result = ran_workspace.unlabeled("run", "toy")
    assert result.returncode == 1
    assert states(result.stderr)["self_train@toy"] == "failed"
    assert result.stderr.count("took longer than 0.05 minutes") <= 2  # while it runs, and at the end
    wait_until(lambda: not ran_workspace.processes(), 5, "all processes end")


def read_only(workspace, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the workspace mounted read-only, as on a shared disk; skip where that is not allowed."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
    if workspace.run("unshare", "-rm", "sh", "-c", script, str(workspace.folder), "true").returncode:
        pytest.skip("user namespaces with mounts are not allowed here")
    return workspace.run("unshare", "-rm", "sh", "-c", script, str(workspace.folder), *command)


def test_read_only_workspace(ran_workspace) -> None:
    result = read_only(ran_workspace, "unlabeled", "run", "toy")
    assert result.returncode == 2
    assert result.stderr == "error: .unlabeled/run.lock: Read-only file system; the workspace must be writable\n"


# ---- bad input ------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_exit_code_2(toy_workspace) -> None:
    before = toy_workspace.contents(".")
    ((code, _, unknown), (no_method, _, usage), (both, _, _), (shown, _, show)) = toy_workspace.commands(
        "run tpy", "run", "run toy --all", "show tpy"
    )
    assert (code, unknown) == (2, "error: unknown method 'tpy'; did you mean 'toy'?\n")
    assert (no_method, both) == (2, 2)
    assert "name methods, or give --all" in usage
    assert (shown, show) == (2, "error: unknown method 'tpy'; did you mean 'toy'?\n")
    assert {p: h for p, h in toy_workspace.contents(".").items() if not p.startswith(".unlabeled")} == before
    toy_workspace.declare(lambda content: content["methods"]["toy"]["cluster"].update(kk=1))
    (broken,) = toy_workspace.commands("run toy")
    assert broken[0] == 2
    assert (
        broken[2]
        == "error: params.yaml: methods.toy.cluster.kk: step 'toy_halves' has no parameter 'kk'; did you mean 'k'?\n"
    )


def test_outside_of_a_workspace_and_with_foreign_code(toy_workspace, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    elsewhere = type(toy_workspace)(tmp_path / "empty", toy_workspace.environment)
    result = elsewhere.unlabeled("list")
    assert result.returncode == 2
    assert "no params.yaml and dvc.yaml in" in result.stderr
    (tmp_path / "foreign").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / "foreign" / name).write_text(toy_workspace.read(name))
    foreign = type(toy_workspace)(tmp_path / "foreign", toy_workspace.environment)
    result = foreign.unlabeled("list")
    assert result.returncode == 2
    assert f"this command runs the code of {toy_workspace.folder}, but the workspace is" in result.stderr


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("self_train@toy main seed 2: 4/8 loss 0.5 after 20 s", 50),
        ("self_train@toy main seed 2: 4/8 loss 0.5, 1 of 3 jobs done after 20 s", 50),
        ("evaluate@toy 2 of 8 jobs done after 20 s", 25),
        ("evaluate@toy main seed 0: 8/8, 3 of 3 jobs done after 20 s", 100),
        ("error: evaluate@toy: no", None),
        ("prepare@toy one: 0/0 after 20 s", None),
    ],
)
def test_percent_done(line: str, percent: float | None) -> None:
    from flows.pipeline import percent_done

    assert percent_done(line) == percent
