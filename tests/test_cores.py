"""Jobs of different stages share the cores of the machine, and a killed one gives its core back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tasks import cores

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setenv(cores.VARIABLE, "")  # so that it is taken back after the test
    cores.share(tmp_path / "cores")
    return tmp_path


def work(folder: Path, seconds: float) -> None:
    with cores.hold():
        started = time.monotonic()
        time.sleep(seconds)
        (folder / f"{os.getpid()}").write_text(f"{started} {time.monotonic()}")


def test_never_more_jobs_than_cores(two_cores: Path) -> None:
    done = two_cores / "done"
    done.mkdir()
    jobs = [FORK.Process(target=work, args=(done, 0.15)) for _ in range(6)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    spans = [tuple(map(float, path.read_text().split())) for path in done.iterdir()]
    assert len(spans) == 6
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) == 2


def test_core_of_a_killed_job_is_free_again(two_cores: Path) -> None:
    done = two_cores / "done"
    done.mkdir()
    stuck = [FORK.Process(target=work, args=(done, 600)) for _ in range(2)]
    for job in stuck:
        job.start()
    time.sleep(0.3)
    waiting = FORK.Process(target=work, args=(done, 0))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert stuck[0].pid is not None
    os.kill(stuck[0].pid, signal.SIGKILL)
    waiting.join(10)
    assert waiting.exitcode == 0
    stuck[1].kill()


def test_without_a_driver_there_is_nothing_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.VARIABLE, raising=False)
    with cores.hold(), cores.hold(), cores.hold():
        pass


def test_no_two_jobs_share_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "GPUS", tmp_path / "gpus")

    def take(answers) -> None:
        answers.put(cores.take_gpu(["0", "3"]))
        time.sleep(1)

    answers = FORK.Queue()
    jobs = [FORK.Process(target=take, args=(answers,)) for _ in range(2)]
    for job in jobs:
        job.start()
    assert sorted(answers.get(timeout=10) for _ in jobs) == ["0", "3"]
    for job in jobs:
        job.join()
