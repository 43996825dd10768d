"""A process that brings DVC graphs up to date on request: by our driver or by `dvc repro`, and killed where asked.

`python graph_process.py` imports DVC and the flow once and answers each line of JSON on standard input with one
on standard output, from a forked child: every request meets a fresh process, a fresh `Repo`, and costs no start.

Request: `{"number": ..., "folder": ..., "action": "drive" | "repro" | "dry" | "status"}` and, if wanted,
- `jobs`: stages side by side;
- `kill: [n, half]`: end the child by SIGKILL just before its n-th change of a file (or start of a command). If `half`,
  a file that was to be rewritten in place is first cut to half its length, as when death comes between two writes;
- `clock`: seconds by which the child's clock is wrong;
- `outlive`: what the child has started is left alone when it has ended.
Answer: `{"states", "errors", "operations", "killed"}`, or `{"crash": traceback}`, and the request's `number`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "subprocess.Popen"}
SAID_BY_DVC = {
    "ran": "Running stage '{}':",
    "restored": "Stage '{}' is cached - skipping run, checking out outputs",
    "fresh": "Stage '{}' didn't change, skipping",
}


class ThreadTask:
    """Takes the place of the flow's Prefect task: the same call of the graph, in a thread, without a server."""

    def __init__(self, jobs: int):
        self._pool = ThreadPoolExecutor(jobs)

    def __enter__(self) -> ThreadTask:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def submit(self, stage: str, graph: Any) -> Any:
        return ThreadRun(self._pool.submit(reproduce, graph, stage))


def reproduce(graph: Any, stage: str) -> str:
    from flows.versioning import StageFailed

    try:
        return graph.reproduce(stage)
    except StageFailed:
        raise
    except Exception:
        traceback.print_exc()  # pytest shows it beside the failed test
        raise


class ThreadRun:
    """What the schedule uses of a Prefect future and its state."""

    def __init__(self, future: Future[str]):
        self._future = future
        self.wait, self.add_done_callback, self.state = future.exception, future.add_done_callback, self

    def is_completed(self) -> bool:
        return self._future.exception() is None

    def result(self, raise_on_failure: bool = False) -> Any:
        return self._future.exception() or self._future.result()


def drive(jobs: int) -> dict[str, Any]:
    """Our driver: the real graph and the real schedule."""
    from flows import pipeline, versioning, workspace

    task = ThreadTask(jobs)
    pipeline.run_stage = task  # type: ignore[assignment]
    with workspace.exclusive(), versioning.Graph() as graph, task:
        outcome = pipeline.Schedule(graph, graph.stages(None) or [], finished=lambda stage: None).run(jobs)
    return {"states": outcome.states, "errors": outcome.errors}


def repro(dry: bool = False) -> dict[str, Any]:
    """`dvc repro` with the states that it reports."""
    from dvc.exceptions import ReproductionError
    from dvc.repo import Repo

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("dvc")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    errors = {}
    project: Any = Repo()  # its methods are decorated out of their types
    with project as repo:
        names = [stage.addressing for stage in repo.index.stages]
        try:
            repo.reproduce(dry=dry)
        except ReproductionError as error:
            errors["dvc repro"] = f"{error}: {error.__cause__}"
    states = {n: s for n in names for s, form in SAID_BY_DVC.items() if form.format(n) in said}
    return {"states": states, "errors": errors}


def status() -> dict[str, Any]:
    from dvc.repo import Repo

    with Repo() as repo:
        return {"states": repo.status(), "errors": {}}


ACTIONS: dict[str, Callable[[dict], dict]] = {
    "drive": lambda request: drive(request.get("jobs", 3)),
    "repro": lambda request: repro(),
    "dry": lambda request: repro(dry=True),
    "status": lambda request: status(),
}


class Counter:
    """Audit hook that counts changes of files below a folder and can end the process at one of them."""

    def __init__(self, folder: str, kill: list | None):
        self.count, self._folder = 0, folder
        self._at, self._half = kill or (None, False)
        self._lock = threading.Lock()

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
            if not os.path.abspath(os.fsdecode(path)).startswith(self._folder):
                return
        elif event not in CHANGES:
            return
        with self._lock:
            self.count += 1
            if self.count != self._at:
                return
            if event == "open" and self._half and arguments[2] & os.O_TRUNC and os.path.isfile(arguments[0]):
                os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()


def answer(request: dict) -> dict[str, Any]:
    """Carry out one request in a child that is not heard of again, nor is anything that it started."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            json.dump(in_child(request), stream)
            stream.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    _, ended = os.waitpid(child, 0)
    if not request.get("outlive"):
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL
    return {"states": {}, "errors": {}, **(json.loads(said) if said else {}), "killed": killed}


def in_child(request: dict) -> dict[str, Any]:
    os.chdir(request["folder"])
    os.environ["DVC_SITE_CACHE_DIR"] = request["folder"] + "-site"
    if "clock" in request:
        genuine = time.time
        time.time = lambda: genuine() + request["clock"]
    counter = Counter(request["folder"], request.get("kill"))
    sys.addaudithook(counter)
    try:
        return {**ACTIONS[request["action"]](request), "operations": counter.count}
    except Exception:
        return {"crash": traceback.format_exc(), "operations": counter.count}


def import_all() -> None:
    """Import what the requests will need, by a first use, so that no child has to."""
    from dvc.repo import Repo
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread, which no child would have
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Repo.init(no_scm=True).close()
        for name, text in {"a": "", "dvc.yaml": "stages: {a: {cmd: 'echo > b', deps: [a], outs: [b]}}"}.items():
            with open(name, "w") as stream:
                stream.write(text)
        repro()
        status()
        drive(1)
        os.chdir(here)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # DVC prints, and so do stages
    import_all()
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({**answer(request), "number": request["number"]}), file=answers, flush=True)


if __name__ == "__main__":
    main()
