"""Jobs of different stages share the cores of the machine, and a killed one gives its core back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import cores

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cores to share; gives the folder for what jobs have to say."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setenv(cores.VARIABLE, "")  # so that it is taken back after the test
    cores.share(tmp_path / "cores")
    done = tmp_path / "done"
    done.mkdir()
    return done


def start(number: int, target: Callable[..., None], *arguments: object) -> list:
    jobs = [FORK.Process(target=target, args=arguments) for _ in range(number)]
    for job in jobs:
        job.start()
    return jobs


def work(folder: Path, seconds: float) -> None:
    with cores.hold():
        started = time.monotonic()
        time.sleep(seconds)
        (folder / f"{os.getpid()}").write_text(f"{started} {time.monotonic()}")


def test_never_more_jobs_than_cores(two_cores: Path) -> None:
    for job in start(6, work, two_cores, 0.15):
        job.join()
    spans = [tuple(map(float, path.read_text().split())) for path in two_cores.iterdir()]
    assert len(spans) == 6
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) == 2


def test_core_of_a_killed_job_is_free_again(two_cores: Path) -> None:
    stuck = start(2, work, two_cores, 600)
    time.sleep(0.3)
    (waiting,) = start(1, work, two_cores, 0)
    waiting.join(0.3)
    assert waiting.is_alive()
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
    jobs = start(2, take, answers)
    assert sorted(answers.get(timeout=10) for _ in jobs) == ["0", "3"]
    for job in jobs:
        job.join()
