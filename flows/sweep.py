"""`unlabeled sweep`: variants of a method side by side, each in a workspace of its own, and their comparison.

A variant's workspace has the same stages under the same names and shares the cache of the workspace it was made
from, so that DVC restores whatever a variant does not change. The workspace itself is only read.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from prefect import State, flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from flows import tracking
from flows.comparison import Comparison, Finished, compare, write_files
from flows.edit import set_values
from flows.guard import Guard
from flows.server import kill_temporary_server, start_temporary_server
from flows.sweep_tracking import log_sweep
from flows.variants import Plan, Variant, plan_sweep, write_grid
from flows.workspace import WorkspaceError, enter_workspace
from tasks import cores
from tasks.state import STATE

SWEEPS = STATE / "sweeps"
LOG = "output.txt"
GRACE_SECONDS = 2.0  # what is left then is killed: a variant's folder is nobody's work
COPIED = ("dvc.yaml", ".dvcignore", "params.yaml")
KEPT = ("dvc.lock", "code.yaml")  # a variant that has run before knows better
SETTLED = re.compile(r"\s*(ran|restored|failed|skipped)\s+(\S+@\S+)\s")

Say = Callable[[Variant, str | None], None]  # what a running variant prints; None when it has ended


@flow(name="sweep", flow_run_name="sweep {method}", persist_result=False)
def sweep(method: str, grid: dict[str, list[Any]], metric: str | None = None, jobs: int | None = None) -> State:
    """Run a method with every combination of some parameters' values, and compare them with the current ones.

    `grid`: values for keys of params.yaml, `{"methods.mlcd.pseudo_label.l": [1, 2, 4]}`. `metric`: default is that of
    the method's first claim. `jobs`: variants side by side (default: one per core). params.yaml and all results stay
    as they are; table, picture and folders of the variants are in .unlabeled/sweeps/.
    """
    enter_workspace()
    log = get_run_logger()

    def say(variant: Variant, line: str | None) -> None:
        if line is not None and SETTLED.match(line):
            log.info("%s: %s", variant.label, line.strip())

    comparison = run_sweep(plan_sweep(method, write_grid(grid), metric), jobs, say)
    page = log_sweep(comparison, write_files(comparison), log.warning, flow_run=str(flow_run.id or ""))
    key = f"sweep-{method}".replace("_", "-")
    link = f"\n[Compare the variants in MLflow]({page})\n" if page else ""
    create_markdown_artifact(comparison.markdown() + link, key=key, description=f"Variants of {method}")
    for row in comparison.failed:
        log.error("%s: %s", row.variant.label, "; ".join(row.finished.errors))
    message = " ".join(comparison.conclusion()[:-1])
    if comparison.failed:
        return Failed(message=f"{len(comparison.failed)} of {len(comparison.rows)} variants failed; {message}")
    return Completed(message=message)


def run_sweep(plan: Plan, jobs: int | None, say: Say) -> Comparison:
    """Run all variants, first the current values, then at most `jobs` side by side (default: one per core).

    A variant that fails does not stop the others. Leaving by an exception ends all of them.
    """
    folder = SWEEPS / plan.id
    with _alone(folder):
        cores.share(folder / "cores")
        # MLflow's store and the Prefect server are made once, before the variants meet there.
        with ThreadPoolExecutor(2) as both:
            starting = [both.submit(tracking.prepare, plan.method), both.submit(start_temporary_server)]
            cache = _cache_folder()
            for variant in plan.variants:
                make_workspace(folder / variant.name, variant, cache)
            for started in starting:
                started.result()
        api = PREFECT_API_URL.value() or SubprocessASGIServer().api_url
        shared = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": absolute(tracking.tracking_uri())}
        try:
            finished = _Runs(plan, folder, shared, say).all(jobs or cores.count())
        except BaseException:
            kill_temporary_server()
            raise
        return compare(plan, finished, folder)


def make_workspace(folder: Path, variant: Variant, cache: Path) -> None:
    """A workspace at `folder` for one variant: code and declaration copied, data linked, DVC's cache shared."""
    here = Path.cwd()
    for package in ("tasks", "flows"):  # copies: the code stays as it is while the sweep goes on
        shutil.rmtree(folder / package, ignore_errors=True)
        shutil.copytree(package, folder / package)
    for name in COPIED:
        shutil.copy2(name, folder / name)
    for name in KEPT:
        if Path(name).exists() and not (folder / name).exists():
            shutil.copy2(name, folder / name)
    # DVC hashes a directory that is a link as if it were the directory itself.
    _link(folder / "data", here / "data")
    (folder / STATE).mkdir(exist_ok=True)
    _link(folder / tracking.LOCK, here / tracking.LOCK)  # one writer to MLflow in all variants
    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / ".dvc" / "config").write_text(
        # Without git: the folder is ignored there, and DVC refuses to read a dvc.yaml that is. Hard links: the outputs
        # that variants have in common take no space; nothing ever writes into them.
        "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n"
        f"    site_cache_dir = {(folder / '.dvc' / 'site').resolve()}\n"
        f'[cache]\n    dir = {cache}\n    type = "reflink,hardlink,copy"\n'
    )
    set_values(variant.assignments(), folder / "params.yaml")


def absolute(uri: str) -> str:
    """MLflow's address as it is to be written in another folder: a relative path made absolute."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file") and uri != "databricks":
        path = Path(unquote(parts.path))
        return uri if path.is_absolute() else path.resolve().as_uri()
    if parts.scheme.startswith("sqlite") and not parts.netloc and parts.path[1:] not in ("", ":memory:"):
        return f"{parts.scheme}:///{Path(parts.path[1:]).resolve()}"
    return uri


class _Runs:
    """The processes of a sweep's variants: `unlabeled run` in each one's folder."""

    def __init__(self, plan: Plan, folder: Path, shared: dict[str, str], say: Say):
        self._plan, self._folder, self._shared, self._say = plan, folder, shared, say
        self._waiting = list(plan.variants)
        self._running: dict[str, _Run] = {}
        self._ready: set[str] = set()
        self._lines: queue.Queue[tuple[Variant, str | None]] = queue.Queue()

    def all(self, jobs: int) -> dict[str, Finished]:
        finished: dict[str, Finished] = {}
        try:
            while self._waiting or self._running:
                self._start(jobs)
                variant, line = self._lines.get()
                if line is not None:
                    self._running[variant.name].lines.append(line)
                else:
                    finished[variant.name] = self._running.pop(variant.name).finish()
                    self._ready |= variant.shared
                self._say(variant, line)
        finally:
            end_all([run.process for run in self._running.values()])
            for run in self._running.values():
                run.release()
        return finished

    def _start(self, jobs: int) -> None:
        """Start what may start: the current values alone, and no two that would compute the same stage twice."""
        for variant in list(self._waiting):
            alone = any(run.variant.is_current for run in self._running.values())
            coming = {s for run in self._running.values() for s in run.variant.shared} - self._ready
            if len(self._running) >= jobs or alone or variant.shared & coming:
                continue
            self._waiting.remove(variant)
            folder = self._folder / variant.name
            self._running[variant.name] = _Run(self._plan, variant, folder, self._shared, self._lines)


class _Run:
    """One running variant. Its lines go to a queue, and None when there are no more."""

    def __init__(self, plan: Plan, variant: Variant, folder: Path, environment: dict[str, str], lines: queue.Queue):
        self.variant, self.lines, self._folder = variant, list[str](), folder
        self._started = time.monotonic()
        tags = json.dumps({"sweep": plan.id, "variant": variant.tag()})
        paths = [str(folder.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {tracking.TAGS: tags, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", "COLUMNS": "1000"}
        self._guard = Guard()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", plan.method],
            cwd=folder, env={**os.environ, **environment, **own}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        self._guard.watch(self.process.pid)
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: queue.Queue) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                lines.put((self.variant, line.rstrip("\n")))
        lines.put((self.variant, None))

    def finish(self) -> Finished:
        code = self.process.wait()
        self.release()
        (self._folder / LOG).write_text("\n".join(self.lines) + "\n")
        states = Counter(found[1] for line in self.lines if (found := SETTLED.match(line)))
        errors = [line.removeprefix("error: ") for line in self.lines if line.startswith("error: ")]
        if code and not errors:
            errors = [f"ended with code {code}; see {self._folder / LOG}"]
        return Finished(time.monotonic() - self._started, dict(states), errors if code else [])

    def release(self) -> None:
        """End the guard; the process is gone."""
        self._guard.release()


def end_all(processes: list[subprocess.Popen]) -> None:
    """Ctrl-C for all, and within seconds the end."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cache_folder() -> Path:
    """Where this workspace's DVC keeps its cache."""
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise WorkspaceError(f"'dvc cache dir' failed: {answer.stderr.strip()}")
    return Path(answer.stdout.strip()).resolve()


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)  # the workspace may have moved since
    link.symlink_to(target)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the sweep's lock; the system releases it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(f"the same sweep is going on in {folder}; wait for it, or stop it") from None
        yield
