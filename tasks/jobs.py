"""Jobs of one stage, side by side on the cores: one (arm, seed) each, on one thread.

One thread per job makes results independent of the number of cores. The workers are forked from this process,
which has imported the heavy libraries and computed nothing, before it starts any thread; they die with it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tasks import cores

# One thread, and the instruction sets that every x86-64 processor since 2013 shares: libraries that choose
# their code by processor would otherwise round differently on another machine.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_CBWR": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "FAISS_OPT_LEVEL": "avx2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class WorkerDied(RuntimeError):
    """A worker process ended without an answer, usually killed for want of memory."""


@dataclass(frozen=True)
class Job:
    """One call of a step.

    `inputs` maps parameter names to artifact folders, `targets` get the result (several when seeds do not
    matter), `curves` are earlier stages whose training curves an evaluation repeats, `figures` says whether it draws.
    """

    stage: str
    step: str
    parameters: dict[str, Any]
    inputs: dict[str, Path]
    seed: int | None
    targets: tuple[Path, ...]
    label: str
    curves: dict[str, Path] = field(default_factory=dict)
    figures: bool = True


@dataclass
class Usage:
    """What one job took; goes to the run record, never into an output."""

    label: str
    seconds: float
    peak_mib: float


@dataclass
class Progress:
    """Last report of a running job."""

    step: int = 0
    total: int = 0
    values: dict[str, float] = field(default_factory=dict)


Listener = Callable[[str, Progress], None]
ALL = "all jobs"  # the label under which a listener hears how many jobs are done


def worker_count(jobs: list[Job], memory_gib: float = 0.0) -> int:
    """How many jobs may run at a time.

    As many as this process may use cores (UNLABELED_JOBS lowers it), as fit into memory if each needs `memory_gib`,
    and one per GPU if a job asks for `device: cuda`.
    """
    limit = min(cores.count() // cores.needed(memory_gib, cores.count()), len(jobs))
    if uses_gpu(jobs):
        limit = min(limit, len(_gpus()))
        if limit == 0:
            raise ValueError("device: cuda is asked for, but torch sees no GPU; set device: cpu")
    return max(1, limit)


def _gpus() -> list[str]:
    import torch

    visible = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    found = torch.cuda.device_count()  # not is_available: it may start CUDA, after which no worker can be forked
    return (visible or [str(d) for d in range(found)]) if found else []


def uses_gpu(jobs: list[Job]) -> bool:
    """Whether any job asks for `device: cuda`."""
    return any(job.parameters.get("device") == "cuda" for job in jobs)


def run_jobs(jobs: list[Job], work: Callable[[Job], None], listener: Listener, memory_gib: float = 0.0) -> list[Usage]:
    """Run `work` on every job in its own process; the first error ends the others and is raised."""
    context = multiprocessing.get_context("fork")
    workers = worker_count(jobs, memory_gib)
    reports = context.Queue()
    devices = _gpus() if uses_gpu(jobs) else []
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(reports, devices))
    try:
        # All workers are forked at the first submit; only then may a thread start here.
        futures: list[Future[Usage]] = [pool.submit(_run_one, work, job, memory_gib) for job in jobs]
        with _listening(reports, listener):
            usages: list[Usage] = []
            try:
                for future in as_completed(futures):
                    usages.append(future.result())
                    listener(ALL, Progress(len(usages), len(jobs)))
                return usages
            except BrokenProcessPool as error:
                raise WorkerDied(
                    "a worker process was killed (out of memory?); give its stage memory_gib in params.yaml's "
                    "resources, or run with fewer side by side: UNLABELED_JOBS=1"
                ) from error
    except BaseException:
        for process in list(getattr(pool, "_processes", None) or {}).copy():
            _kill(process)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _start_worker(reports: Any, devices: list[str]) -> None:
    threading.Thread(target=die_with_parent, daemon=True).start()
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = cores.take_gpu(devices)
    global _reports
    _reports = reports


_reports: Any = None


def die_with_parent() -> None:
    """End this process when the one that started it has ended, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run_one(work: Callable[[Job], None], job: Job, memory_gib: float) -> Usage:
    from tasks import progress

    def tell(step: int, total: int, values: dict[str, float]) -> None:
        _reports.put((job.label, Progress(step, total, values)))

    progress.listen(tell)
    _pin_libraries(job)
    with cores.hold(memory_gib):
        started = time.perf_counter()
        try:
            work(job)
        finally:
            progress.listen(None)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Usage(job.label, seconds, peak)


def _pin_libraries(job: Job) -> None:
    import torch

    torch.set_num_threads(1)
    if uses_gpu([job]):  # on the CPU one thread is enough, and this costs an import of 1.3 s
        torch.use_deterministic_algorithms(True)


@contextmanager
def _listening(reports: Any, listener: Listener) -> Iterator[None]:
    def listen() -> None:
        while (message := reports.get()) is not None:
            listener(*message)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        reports.put(None)
        thread.join(timeout=5)
