"""The cores, memory and GPUs of this machine, shared by the jobs of all stages that run side by side.

Each core is a file; who holds its lock has the core, and an equal part of the memory. A job that needs more memory
holds several. The kernel gives a lock back however its holder ends, so nothing is lost with a killed job.
"""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "UNLABELED_CORES"
GPUS = Path(tempfile.gettempdir()) / f"unlabeled-gpus-{os.getuid()}"  # one set for all workspaces of the machine
QUEUE = "queue"  # beside the cores: who holds it is next
_POLL_SECONDS = 0.01
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")


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
    for file in (QUEUE, *map(str, range(count()))):
        (folder / file).touch()
    os.environ[VARIABLE] = str(folder.resolve())


def memory() -> float:
    """GiB of this machine, or of the container that this process is in."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP_MEMORY.read_text().strip() if _CGROUP_MEMORY.exists() else "max"
    return min(machine, int(limit) if limit.isdecimal() else machine) / 2**30


def needed(memory_gib: float, of: int) -> int:
    """How many of `of` cores have, with their equal parts of the memory, `memory_gib`; at least one, at most all."""
    return min(of, max(1, math.ceil(memory_gib * of / memory())))


@contextmanager
def hold(memory_gib: float = 0.0) -> Iterator[None]:
    """Hold a shared core, or as many as have `memory_gib`.

    Without a driver that shares them (plain `dvc repro`) there is nothing to hold.
    """
    if VARIABLE not in os.environ:
        yield
        return
    folder = Path(os.environ[VARIABLE])
    queue = os.open(folder / QUEUE, os.O_RDWR)
    free = [os.open(path, os.O_RDWR) for path in sorted(folder.iterdir()) if path.name != QUEUE]
    held: list[int] = []
    try:
        # Only the first in the queue gathers cores: two that hold a part each would wait for each other for ever,
        # and small jobs would pass a large one for as long as there are any.
        fcntl.flock(queue, fcntl.LOCK_EX)
        for _ in range(needed(memory_gib, len(free))):
            held.append(free.pop(_first_free(free)))
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
    finally:
        for file in (queue, *free, *held):
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
