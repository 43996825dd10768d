"""All that we ask of DVC: which stages are stale and why, run one, restore one, record it. Nothing else imports dvc.

DVC has no public interface for this. Used are `cmd_run` and `_run` of `dvc.stage.run` and `dvc.rwlock.rwlock`, which
are replaced, `Stage.reproduce`, `reload` and `status`, `dvc.stage.serialize.to_lockfile`, the planning functions of
`dvc.repo.reproduce`, the run cache's `pull` and `restore`, `_wait` of its lock, and `HashFileDB.check`:
tests/flows/test_versioning.py fails if DVC moves them.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows import guard, warm
from flows.lockfile import LockFile
from tasks import cores
from tasks.declaration import Declaration
from tasks.fingerprint import changed_behind_links

FINGERPRINT = "fingerprint"
LOCK = Path("dvc.lock")
COMMAND = ["python", "-m", "tasks"]
FLOW_RUN = "UNLABELED_FLOW_RUN"


@dataclass
class StageFailed(Exception):
    """A stage ended with an error. `bad_input`: retrying cannot help. `transient`: it may."""

    stage: str
    messages: list[str]
    bad_input: bool
    transient: bool

    def __str__(self) -> str:
        return "\n".join(self.messages) or f"{self.stage} failed"

    def __reduce__(self) -> tuple:
        return StageFailed, (self.stage, self.messages, self.bad_input, self.transient)


class RemoteError(RuntimeError):
    """There is no DVC remote to pull from, or it does not answer."""


class Graph:
    """DVC's stages of this workspace, read once, to be brought up to date side by side.

    DVC itself decides on each stage, restores it from its run cache, saves its outputs; its objects are not made
    for threads, so they are used one thread at a time, and given up while a command runs. dvc.lock is written by
    `flows.lockfile`, which does not read it anew for every stage.
    """

    def __init__(self) -> None:
        import dvc.repo.reproduce as dvc_reproduce
        import networkx
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)  # Prefect would show its hints about git
        logging.getLogger("dvc.data_cloud").setLevel(logging.ERROR)  # what a remote lacks is computed
        self._repo = Repo()
        lock: Any = self._repo.lock
        lock._wait = True  # another DVC command takes seconds; what has been computed must be recorded
        _compare_with_hashes(self._repo)
        graph = dvc_reproduce.get_active_graph(self._repo.index.graph)
        order = dvc_reproduce.plan_repro(graph, [s for s in self._repo.index.stages if s.path_in_repo == "dvc.yaml"])
        self._stages: dict[str, Any] = {stage.addressing: stage for stage in order}
        self._upstream = {
            name: {earlier.addressing for earlier in networkx.descendants(graph, stage)}
            for name, stage in self._stages.items()
        }
        self._lock_file = LockFile(LOCK, list(self._stages))
        self._turn = threading.Lock()
        self._commands: dict[str, Callable[[list[str]], int]] = {}
        self._executed: set[str] = set()  # stages whose command ran when they were last reproduced
        self._pulls = False
        self._locked = threading.local()  # .paths: what this thread has locked, as (mode, path)

    def __enter__(self) -> Graph:
        import dvc.rwlock
        import dvc.stage.run

        self._cmd_run: Any = dvc.stage.run.cmd_run
        self._run: Any = dvc.stage.run._run
        self._rwlock: Any = dvc.rwlock.rwlock
        dvc.stage.run.cmd_run = self._run_command
        dvc.stage.run._run = _run_in_group
        dvc.rwlock.rwlock = self._lock_once
        return self

    def __exit__(self, *error: object) -> None:
        import dvc.rwlock
        import dvc.stage.run

        dvc.stage.run.cmd_run = self._cmd_run
        dvc.stage.run._run = self._run
        dvc.rwlock.rwlock = self._rwlock
        self._repo.close()

    def pull(self) -> None:
        """From now on take what the local cache lacks from the default DVC remote, as `dvc repro --pull` does.

        Raises `RemoteError` if there is none or if it cannot be reached.
        """
        from dvc.config import NoRemoteError

        try:
            with self._at_work():
                self._repo.cloud.get_remote_odb()
                self._repo.stage_cache.pull(None)
        except NoRemoteError as error:
            raise RemoteError(
                "--pull: there is no default DVC remote; add one with: dvc remote add --default NAME URL"
            ) from error
        except Exception as error:  # every kind of remote has exceptions of its own
            raise RemoteError(
                f"--pull: the DVC remote does not answer: {_root(error)}; see 'dvc remote list', or run without --pull"
            ) from error
        cache: Any = self._repo.stage_cache
        cache.restore = partial(cache.restore, pull=True)
        self._pulls = True

    def stages(self, methods: list[str] | None) -> list[str] | None:
        """All stages that `methods` need (None: all there are), each after those upstream of it; None if one is unknown."""
        if methods is None:
            return list(self._stages)
        last = [f"evaluate@{method}" for method in methods]
        if not set(last) <= set(self._stages):
            return None
        needed = set(last).union(*(self.upstream(stage) for stage in last))
        return [stage for stage in self._stages if stage in needed]

    def stages_of_methods(self) -> dict[str, list[str]]:
        """`stages` of every method."""
        methods = [name.partition("@")[2] for name in self._stages if name.startswith("evaluate@")]
        return {method: self.stages([method]) or [] for method in methods}

    def files(self) -> list[str]:
        """Paths of all dependencies and outputs."""
        items = [item for stage in self._stages.values() for item in (*stage.deps, *stage.outs)]
        return sorted({os.path.relpath(item.fs_path) for item in items})

    def upstream(self, name: str) -> set[str]:
        """All stages that `name` depends on, directly or not."""
        return self._upstream[name]

    def changes(self, stages: list[str]) -> dict[str, list[str]]:
        """What makes each stale stage stale, by DVC's own account: `{"cluster@sbcl": ["dep params.yaml: ..."]}`.

        A stage missing from the answer is up to date now; it may still become stale through an upstream stage.
        """
        files = [item.fs_path for name in stages for item in (*self._stages[name].deps, *self._stages[name].outs)]
        with self._at_work(), self._lock_once(self._repo.tmp_dir, self._repo.fs, COMMAND[-1], files, [], False):
            status = {name: self._stages[name].status() for name in stages}
        return {name: list(_explain(found[name])) for name, found in status.items() if name in found}

    def refresh_fingerprint(self, declaration: Declaration) -> None:
        """Bring code.yaml up to date, also where data lie behind symbolic links, which DVC does not follow."""
        if self.changes([FINGERPRINT]) or changed_behind_links(declaration):
            self.reproduce(FINGERPRINT, force=True)

    def reproduce(self, name: str, on_line: Callable[[str], None] = lambda line: None, force: bool = False) -> str:
        """What `dvc repro --single-item` does for one stage: `fresh`, `restored` or `ran`.

        Its command runs in a warm process and its output lines go to `on_line`. `force` runs the stage although DVC
        sees no change. Raises `StageFailed`; a failed stage gets its former outputs back, as dvc.lock still
        describes them.
        """
        from dvc.exceptions import DvcException
        from dvc.stage.serialize import to_lockfile

        stage = self._stages[name]
        small = {path: path.read_bytes() for path in _uncached_outputs(name) if path.is_file()}
        tail: deque[str] = deque(maxlen=40)
        codes: list[int] = []

        def run(arguments: list[str]) -> int:
            def tell(line: str) -> None:
                tail.append(line)
                on_line(line)

            # The process that it is forked from has started before these were set.
            told = {name: os.environ[name] for name in (FLOW_RUN, cores.VARIABLE) if name in os.environ}
            codes.append(warm.run_stage(arguments, tell, told))
            return codes[-1]

        self._executed.discard(name)
        self._commands[name] = run
        try:
            with self._at_work():
                if self._pulls and not force and self._pulled(stage):
                    return "restored"
                if stage.reproduce(force=force) is None:
                    return "fresh"
                self._lock_file.record(to_lockfile(stage))
        except DvcException as error:
            self._restore(name, small)
            raise _failure(name, list(tail), codes[-1] if codes else None, error) from error
        except BaseException:
            self._restore(name, small)
            raise
        finally:
            del self._commands[name]
        return "ran" if name in self._executed else "restored"

    def settle(self) -> None:
        """Say that all that was asked for is up to date: see `LockFile.settle`."""
        self._lock_file.settle()

    def _pulled(self, stage: Any) -> bool:
        """Whether a stage that only lacked its outputs now has them from the remote."""
        from dvc.exceptions import DvcException

        if not stage.changed() or stage.changed(allow_missing=True):
            return False
        try:
            for objects in stage.get_used_objs().values():
                self._repo.cloud.pull(objects)
            stage.checkout()
        except DvcException:
            return False  # the remote has it not, or not whole: it is computed
        return not stage.changed()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._turn, self._repo.lock:
            yield

    @contextmanager
    def _lock_once(self, tmp_dir: Any, fs: Any, cmd: Any, read: list, write: list, hardlink: bool) -> Iterator[None]:
        """Takes the place of DVC's `rwlock`: what a thread has locked already is not locked again.

        DVC locks the files of a stage in every one of some nine functions that call each other, each time by
        writing a file twice: half a run's overhead.
        """
        held: set[tuple[str, str]] = getattr(self._locked, "paths", set())
        wanted = {("write", path) for path in write}
        wanted |= {("read", path) for path in read if ("write", path) not in held}
        if wanted <= held:
            yield
            return
        with self._rwlock(tmp_dir, fs, cmd, read, write, hardlink):
            self._locked.paths = held | wanted
            try:
                yield
            finally:
                self._locked.paths = held

    def _run_command(self, stage: Any, dry: bool = False, run_env: dict[str, str] | None = None) -> None:
        """Takes the place of DVC's `cmd_run`, which starts `python -m tasks ...` in a shell; DVC's lock is open."""
        from dvc.stage.exceptions import StageCmdFailedError

        words = shlex.split(stage.cmd) if isinstance(stage.cmd, str) else []
        self._executed.add(stage.addressing)
        self._turn.release()
        try:
            if words[:3] != COMMAND:
                return self._cmd_run(stage, dry=dry, run_env=run_env)
            code = self._commands[stage.addressing](words[3:])
        finally:
            self._turn.acquire()
        if code:
            raise StageCmdFailedError(stage.cmd, code)

    def _restore(self, name: str, small: dict[Path, bytes]) -> None:
        from dvc.exceptions import DvcException

        for path, content in small.items():
            if not path.exists():
                path.write_bytes(content)
        try:
            from dvc.repo import Repo

            with self._turn, Repo() as repo:
                _compare_with_hashes(repo)
                # DVC has written its new dependencies into the stage before it ran: a second try would find
                # nothing changed. What counts is what dvc.lock says.
                stage = self._stages[name] = self._stages[name].reload()
                if all(out.hash_info for out in stage.outs):  # else it has never run, of which DVC would warn
                    repo.checkout(targets=[name], force=True)
        except DvcException:
            return  # its outputs are not in the cache: there is nothing to give back


def lock_hashes(path: Path = LOCK) -> dict[str, dict[str, str]]:
    """`{stage: {output path: hash}}` of dvc.lock."""
    content = YAML(typ="safe").load(path.read_text())
    return {
        stage: {out["path"]: out["md5"] for out in entry.get("outs", [])} for stage, entry in content["stages"].items()
    }


def _run_in_group(executable: str | None, command: str, **how: Any) -> None:
    """Takes the place of DVC's `_run`: a command that is not ours must not outlive a driver that is killed.

    It would write where the next run writes.
    """
    from dvc.stage.exceptions import StageCmdFailedError
    from dvc.stage.run import _make_cmd

    code = guard.run_in_group(_make_cmd(executable, command), **how)
    if code:
        raise StageCmdFailedError(command, code)


def _compare_with_hashes(repo: Any) -> None:
    """Let `repo` compare what is in its cache with its hash, once for every version of a file.

    DVC takes a write-protected file for sound, whatever a bad disk or a careless editor has made of it.
    """
    from dvc_data.hashfile.db import HashFileDB

    for cache in (repo.cache.local, repo.cache.legacy):
        cache.check = partial(HashFileDB.check, cache)


def _explain(entries: list[Any]):
    for entry in entries:
        if isinstance(entry, str):
            yield entry  # e.g. "changed command"
            continue
        for kind, items in entry.items():
            what = kind.removeprefix("changed ").rstrip("s")
            for path, change in items.items():
                details = ", ".join(f"{c} {k}" for k, c in change.items()) if isinstance(change, dict) else change
                yield f"{what} {path}: {details}"


def _uncached_outputs(stage: str) -> list[Path]:
    kind, _, name = stage.partition("@")
    return [Path(f"results/{name}.json"), Path(f"results/{name}.csv")] if kind == "evaluate" else []


def _failure(stage: str, tail: list[str], code: int | None, error: Exception) -> StageFailed:
    messages = [line.removeprefix("error: ") for line in tail if line.startswith("error: ")]
    if not messages:
        messages = [*[line for line in tail if line.strip()][-3:], f"{stage}: {_root(error)}"]
    # Negative: ended by a signal, as the kernel does when memory runs out.
    killed = code is not None and code < 0
    return StageFailed(stage, messages, bad_input=code == 2, transient=killed and not warm.stopping())


def _root(error: BaseException) -> str:
    """What went wrong at the bottom of a chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
