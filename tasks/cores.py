"""The cores and GPUs of this machine, shared by the jobs of all stages that run side by side.

Each is a file; who holds its lock has the core. The kernel gives a lock back however its holder ends, so nothing
is lost with a killed job.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "UNLABELED_CORES"
GPUS = Path(tempfile.gettempdir()) / f"unlabeled-gpus-{os.getuid()}"  # one set for all workspaces of the machine
_POLL_SECONDS = 0.01


def count() -> int:
    """Cores this process may use; UNLABELED_JOBS lowers it. Raises `ValueError` if that is no positive number."""
    cores = len(os.sched_getaffinity(0))
    asked = os.environ.get("UNLABELED_JOBS", str(cores))
    if not asked.isdecimal() or int(asked) == 0:
        raise ValueError(f"UNLABELED_JOBS must be a whole number of at least 1, got '{asked}'")
    return min(int(asked), cores)


def share(folder: Path) -> None:
    """Let all jobs of this process's descendants share its cores, as files of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for core in range(count()):
        (folder / str(core)).touch()
    os.environ[VARIABLE] = str(folder.resolve())


@contextmanager
def hold() -> Iterator[None]:
    """Hold one of the shared cores; without a driver that shares them (plain `dvc repro`) there is nothing to hold."""
    if VARIABLE not in os.environ:
        yield
        return
    files = [os.open(path, os.O_RDWR) for path in sorted(Path(os.environ[VARIABLE]).iterdir())]
    try:
        _first_free(files)
        yield
    finally:
        for file in files:
            os.close(file)  # gives the lock back


def take_gpu(devices: list[str]) -> str:
    """Wait for one of `devices` and keep it from all other jobs on this machine as long as this process lives."""
    GPUS.mkdir(parents=True, exist_ok=True)
    return devices[_first_free([os.open(GPUS / device, os.O_CREAT | os.O_RDWR, 0o644) for device in devices])]


def _first_free(files: list[int]) -> int:
    """Index of the first file whose lock was free, which is now held."""
    while True:
        for index, file in enumerate(files):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return index
        time.sleep(_POLL_SECONDS)
