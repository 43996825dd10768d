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


def needy(folder: Path, memory_gib: float) -> None:
    with cores.hold(memory_gib):
        started = time.monotonic()
        time.sleep(0.15)
        (folder / f"{os.getpid()}").write_text(f"{started} {time.monotonic()} {cores.needed(memory_gib, 2)}")


def test_jobs_that_need_much_memory_run_alone_and_get_their_turn(
    two_cores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three jobs that need more than half of the memory among six that need little: never more than two cores' worth."""
    monkeypatch.setattr(cores, "memory", lambda: 24.0)
    jobs = [job for gib in (0.0, 13.0, 0.0, 0.0, 20.0, 0.0, 100.0, 0.0, 0.0) for job in start(1, needy, two_cores, gib)]
    for job in jobs:
        job.join(20)
    spans = [tuple(map(float, path.read_text().split())) for path in two_cores.iterdir()]
    assert sorted(cost for *_, cost in spans) == [1.0] * 6 + [2.0] * 3
    for moment, *_ in spans:
        assert sum(cost for begin, end, cost in spans if begin <= moment < end) <= 2


@pytest.mark.parametrize(("gib", "of", "cores_needed"), [(0, 2, 1), (12, 2, 1), (12.1, 2, 2), (99, 2, 2), (4, 16, 3)])
def test_cores_that_have_so_much_memory(
    monkeypatch: pytest.MonkeyPatch, gib: float, of: int, cores_needed: int
) -> None:
    monkeypatch.setattr(cores, "memory", lambda: 24.0)
    assert cores.needed(gib, of) == cores_needed


def test_memory_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = cores.memory()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(cores, "_CGROUP_MEMORY", limit)
    limit.write_text("1073741824\n")
    assert cores.memory() == 1.0
    limit.write_text("max\n")
    assert cores.memory() >= machine


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
