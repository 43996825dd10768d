"""Whatever happens during the real `unlabeled run`: what was finished is kept, and the next run ends as an undisturbed one.

The same on graphs of shell commands, in more places: `test_faults.py`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow


def all_stale(content: dict) -> None:
    """Another data set, and steps that take their time."""
    content["datasets"]["blobs"]["n"] = 41
    content["methods"]["toy"]["self_train"]["seconds"] = 2.0


def settled(said: str) -> dict[str, str]:
    """`{stage: state}` of the lines that a run prints."""
    words = [line.split() for line in said.splitlines()]
    return {w[1]: w[0] for w in words if len(w) > 1 and w[0] in ("ran", "restored", "failed", "skipped")}


@pytest.fixture(scope="module")
def undisturbed(first_run, tmp_path_factory) -> tuple[Any, float]:
    """A workspace that has run, been changed and run again, and the seconds that the second run took."""
    workspace = first_run[0].copy(tmp_path_factory.mktemp("undisturbed") / "workspace")
    workspace.declare(all_stale)
    started = time.monotonic()
    result = workspace.unlabeled("run", "toy")
    assert result.returncode == 0, result.stderr
    return workspace, time.monotonic() - started


def assert_equal(workspace, undisturbed) -> None:
    """Same dvc.lock to the byte, same outputs, nothing left to do."""
    assert workspace.read("dvc.lock") == undisturbed.read("dvc.lock")
    assert workspace.contents("artifacts", "results") == undisturbed.contents("artifacts", "results")
    assert workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize("part", range(5))
def test_driver_killed_at_random_moments(first_run, undisturbed, tmp_path: Path, wait_until, part: int) -> None:
    """Four moments of twenty, spread over an undisturbed run; each time the next run goes on from there."""
    chance = random.Random(part)
    for number in range(4):
        workspace = first_run[0].copy(tmp_path / f"workspace{number}")
        before = workspace.lock()
        workspace.declare(all_stale)
        moment = undisturbed[1] * (part + chance.random()) / 5
        process = workspace.start("unlabeled", "run", "toy")
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()
        process.wait(10)
        wait_until(lambda w=workspace: not w.processes(), 10, "all processes end")
        final = undisturbed[0].lock()
        recorded = {stage for stage, entry in workspace.lock().items() if entry != before.get(stage)}
        assert all(workspace.lock()[stage] == final[stage] for stage in recorded), f"killed after {moment:.1f} s"
        result = workspace.unlabeled("run", "toy")
        assert result.returncode == 0, f"killed after {moment:.1f} s\n{result.stderr}"
        assert not recorded & set(settled(result.stderr)), f"recorded, and run again; killed after {moment:.1f} s"
        assert_equal(workspace, undisturbed[0])
        shutil.rmtree(workspace.folder)


def test_worker_killed(ran_workspace, undisturbed, wait_until) -> None:
    """One (arm, seed) job dies, as for want of memory: the stage fails and says so; the next run goes on."""
    ran_workspace.declare(all_stale)
    ran_workspace.declare(lambda content: content["methods"]["toy"]["self_train"].update(seconds=30.0))
    before = ran_workspace.contents("artifacts/toy/self_train", "results")
    process = ran_workspace.start("unlabeled", "run", "toy")

    def worker() -> psutil.Process | None:
        """A process of the third generation below the driver: fork server, stage, job."""
        if "self_train@toy" not in ran_workspace.output():
            return None
        with suppress(psutil.NoSuchProcess):
            for server in psutil.Process(process.pid).children():
                for stage in server.children():
                    for job in stage.children():
                        return job
        return None

    wait_until(worker, 120, "a job of self_train runs")
    job = worker()
    assert job is not None
    job.kill()
    assert process.wait(120) == 1, ran_workspace.output()
    assert "error: self_train@toy: a worker process was killed (out of memory?)" in ran_workspace.output()
    assert ran_workspace.contents("artifacts/toy/self_train", "results") == before
    wait_until(lambda: not ran_workspace.processes(), 10, "all processes end")
    ran_workspace.declare(all_stale)
    result = ran_workspace.unlabeled("run", "toy")
    assert result.returncode == 0, result.stderr
    assert set(settled(result.stderr)) == {"self_train@toy", "evaluate@toy"}
    assert_equal(ran_workspace, undisturbed[0])


@pytest.fixture
def prefect_server(ran_workspace, tmp_path: Path, wait_until, free_port) -> Iterator[tuple[subprocess.Popen, str]]:
    """A lasting Prefect server with a home of its own, and the address of its interface."""
    port, home = free_port(), str(tmp_path / "prefect")
    environment = {**ran_workspace.environment, "PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with open(tmp_path / "server.txt", "w") as stream:
        command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", str(port)]
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], cwd=tmp_path, env=environment, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip

    def answers() -> bool:
        with suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health").status == 200
        return False

    try:
        wait_until(answers, 180, "Prefect's server starts")
        yield server, f"http://127.0.0.1:{port}/api"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_prefect_server_stopped_mid_run(ran_workspace, undisturbed, prefect_server, wait_until) -> None:
    """The work goes on and ends well; a warning says that Prefect does not know."""
    server, address = prefect_server
    ran_workspace.declare(all_stale)
    process = ran_workspace.start("unlabeled", "run", "toy", PREFECT_API_URL=address)
    wait_until(lambda: "pretrain@toy" in settled(ran_workspace.output()), 120, "the first stages have run")
    os.killpg(server.pid, signal.SIGKILL)
    code = process.wait(400)
    assert_equal(ran_workspace, undisturbed[0])  # this much holds
    assert code == 0
    assert "warning: Prefect" in ran_workspace.output()
    assert "Traceback" not in ran_workspace.output()


def test_disk_full(ran_workspace, undisturbed, with_mount) -> None:
    """The stages, or DVC, find no room: one line for each error, exit code 1 or 2, and the next run goes on."""
    ran_workspace.declare(all_stale)
    before = ran_workspace.lock()
    cache = ran_workspace.folder / ".dvc" / "cache"
    small = with_mount(cache, 'mount -t tmpfs -o size=64k none "$0"')
    result = ran_workspace.run(*small, "unlabeled", "run", "toy")
    assert result.returncode in (1, 2), result.stdout + result.stderr
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    final = undisturbed[0].lock()
    lock = ran_workspace.lock()
    assert all(entry in (before.get(stage), final[stage]) for stage, entry in lock.items() if stage in final)
    result = ran_workspace.unlabeled("run", "toy")
    assert result.returncode == 0, result.stderr
    assert_equal(ran_workspace, undisturbed[0])


def test_damaged_lock_file_is_one_line(ran_workspace) -> None:
    whole = ran_workspace.read("dvc.lock")
    (ran_workspace.folder / "dvc.lock").write_text(whole[: len(whole) // 2 - 3] + ": [")
    run, status, dry = ran_workspace.commands("run toy", "status", "run toy --dry")
    for code, _, said in (run, status, dry):
        assert code == 2, said
        assert said.startswith("error: dvc.lock: line "), said
        assert said.endswith(
            "take it back with 'git checkout dvc.lock', or delete it: DVC's cache still has the results\n"
        )
    (ran_workspace.folder / "dvc.lock").unlink()
    result = ran_workspace.unlabeled("run", "--all")
    assert result.returncode == 0, result.stderr
    assert "ran" not in {s for stage, s in settled(result.stderr).items() if stage != "fingerprint"}


@pytest.mark.parametrize("jump", [-86400 * 365, 86400 * 365])
def test_wall_clock_jumps_during_the_run(ran_workspace, undisturbed, jump: int) -> None:
    """A year, in every process, five seconds after it has started."""
    (ran_workspace.folder.parent / "clock").mkdir()
    (ran_workspace.folder.parent / "clock" / "sitecustomize.py").write_text(
        "import time\n"
        "genuine, started = time.time, time.monotonic()\n"
        f"time.time = lambda: genuine() + ({jump} if time.monotonic() - started > 5 else 0)\n"
    )
    ran_workspace.declare(all_stale)
    path = f"{ran_workspace.folder}{os.pathsep}{ran_workspace.folder.parent / 'clock'}"
    result = ran_workspace.unlabeled("run", "toy", PYTHONPATH=path)
    assert result.returncode == 0, result.stderr
    assert_equal(ran_workspace, undisturbed[0])
    assert "fresh in" in ran_workspace.unlabeled("run", "toy").stdout
