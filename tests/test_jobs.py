"""Jobs: one thread each, side by side; errors arrive whole, and no worker outlives the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss  # as in a real run, the workers are forked from a process that has imported the heavy libraries
import numpy as np
import psutil
import pytest
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_info

from tasks import progress
from tasks.jobs import ALL, Job, Progress, WorkerDied, run_jobs, worker_count

REPOSITORY = Path(__file__).resolve().parents[1]


def jobs(folder: Path, count: int = 2, **parameters: object) -> list[Job]:
    return [
        Job("cluster", "x", {"number": n, **parameters}, {}, n, (folder / str(n),), f"job {n}") for n in range(count)
    ]


def quiet(label: str, report: Progress) -> None:
    """Nobody listens."""


# ---- bodies of jobs, found by the workers under these names ----------------------------------------------------


def note_process(job: Job) -> None:
    pools = {pool["num_threads"] for pool in threadpool_info()}
    report = {
        "pid": os.getpid(),
        "torch": torch.get_num_threads(),
        "faiss": faiss.omp_get_max_threads(),
        "pools": max(pools),
    }
    job.targets[0].write_text(json.dumps(report))
    time.sleep(0.3)  # so that one worker cannot take every job


def note_pid(job: Job) -> None:
    job.targets[0].write_text(str(os.getpid()))
    time.sleep(0.3)


def compute(job: Job) -> None:
    x = np.random.default_rng(job.seed).normal(size=(400, 60)).astype(np.float32)
    y = PCA(8, random_state=job.seed).fit_transform(x)
    z = torch.nn.functional.softmax(torch.from_numpy(x) @ torch.from_numpy(x).T, dim=1)
    job.targets[0].write_bytes(y.tobytes() + z.numpy().tobytes())


def fail(job: Job) -> None:
    if job.parameters["number"] == 1:
        raise ValueError("k: must be at most 7\nsecond line")
    time.sleep(60)


def unusual(job: Job) -> None:
    raise FloatingPointError("loss is nan at step 3; lower optimizer.lr (0.1)")


def die(job: Job) -> None:
    if job.parameters["number"] == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def tell(job: Job) -> None:
    for step in range(5):
        progress.report(step + 1, 5, loss=1.0 / (step + 1))
    time.sleep(0.5)  # reports are sent by a thread; those of the very last moment may be lost


# ---- tests ----------------------------------------------------------------------------------------------------


def test_every_library_computes_on_one_thread(tmp_path: Path) -> None:
    run_jobs(jobs(tmp_path, 2), note_process, quiet)
    for path in tmp_path.iterdir():
        report = json.loads(path.read_text())
        assert (report["torch"], report["faiss"], report["pools"]) == (1, 1, 1)
        assert report["pid"] != os.getpid()


@pytest.mark.parametrize(("limit", "workers"), [("1", 1), ("2", 2), ("3", 3)])
def test_unlabeled_jobs_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("UNLABELED_JOBS", limit)
    run_jobs(jobs(tmp_path, 4), note_pid, quiet)
    pids = {path.read_text() for path in tmp_path.iterdir()}
    assert len(pids) == workers


def test_as_many_workers_as_cores_or_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNLABELED_JOBS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert worker_count(jobs(tmp_path, 7)) == 3
    assert worker_count(jobs(tmp_path, 2)) == 2


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5", ""])
def test_unlabeled_jobs_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("UNLABELED_JOBS", bad)
    with pytest.raises(ValueError, match=f"UNLABELED_JOBS must be a whole number of at least 1, got '{bad}'"):
        worker_count(jobs(tmp_path))


def test_gpu_that_is_absent(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="device: cuda is asked for, but torch sees no GPU; set device: cpu"):
        worker_count(jobs(tmp_path, device="cuda"))


def test_one_or_two_workers_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    results = []
    for workers in ("1", "2"):
        monkeypatch.setenv("UNLABELED_JOBS", workers)
        folder = tmp_path / workers
        folder.mkdir()
        run_jobs(jobs(folder, 4), compute, quiet)
        results.append([(folder / str(n)).read_bytes() for n in range(4)])
    assert results[0] == results[1]
    assert len(set(results[0])) == 4


def test_error_keeps_type_and_message_and_ends_the_others(tmp_path: Path) -> None:
    started, before = time.monotonic(), set(psutil.Process().children())
    with pytest.raises(ValueError, match=r"^k: must be at most 7\nsecond line$") as caught:
        run_jobs(jobs(tmp_path, 2), fail, quiet)
    assert type(caught.value) is ValueError
    assert time.monotonic() - started < 20
    assert set(psutil.Process().children()) <= before


def test_floating_point_error_arrives_as_such(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="loss is nan at step 3"):
        run_jobs(jobs(tmp_path, 1), unusual, quiet)


def test_killed_worker(tmp_path: Path) -> None:
    before = set(psutil.Process().children())  # other tests' own
    with pytest.raises(WorkerDied, match=r"a worker process was killed .*UNLABELED_JOBS=1"):
        run_jobs(jobs(tmp_path, 2), die, quiet)
    assert set(psutil.Process().children()) <= before


def test_usage_of_every_job(tmp_path: Path) -> None:
    usage = run_jobs(jobs(tmp_path, 3), note_pid, quiet)
    assert sorted(u.label for u in usage) == ["job 0", "job 1", "job 2"]
    assert all(0.3 <= u.seconds < 60 and 10 < u.peak_mib < 10_000 for u in usage)


def test_listener_hears_the_last_report_of_every_job(tmp_path: Path) -> None:
    heard: dict[str, Progress] = {}
    run_jobs(jobs(tmp_path, 3), tell, lambda label, report: heard.update({label: report}))
    assert heard.pop(ALL) == Progress(3, 3)
    assert heard == {f"job {n}": Progress(5, 5, {"loss": 0.2}) for n in range(3)}


ORPHANS = """
import sys, time
from pathlib import Path
from tasks.jobs import Job, run_jobs
import os

def wait(job):
    job.targets[0].write_text(str(os.getpid()))
    time.sleep(120)

folder = Path(sys.argv[1])
run_jobs([Job("cluster", "x", {}, {}, n, (folder / str(n),), str(n)) for n in range(2)], wait, lambda *a: None)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_parent(tmp_path: Path, wait_until: Callable[..., float], signum: int) -> None:
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "UNLABELED_JOBS": "2"}
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path / "pids")], env=environment)
    try:
        wait_until(
            lambda: len([p for p in (tmp_path / "pids").iterdir() if p.read_text()]) == worker_count(jobs(tmp_path)), 60
        )
        pids = [int(path.read_text()) for path in (tmp_path / "pids").iterdir()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.send_signal(signum)
        parent.wait(timeout=10)
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5, "workers end")
    finally:
        parent.kill()
        parent.wait()
