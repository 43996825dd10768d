"""What a killed process leaves in DVC's own folders and every later command would stumble over.

`.dvc/tmp/rwlock` is DVC's record of who reads and writes which file. DVC rewrites it in place some times a second, so
it may be left half written; and DVC knows a process by its number alone, which soon belongs to another one, in
containers at once. In the run cache, DVC makes a folder, then its entry: an empty one ends every run with a TypeError.
DVC's other lock, `.dvc/tmp/lock`, is the kernel's and needs no care.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

FILE = Path(".dvc/tmp/rwlock")


@dataclass(frozen=True)
class Holder:
    """A process that has locked files, as DVC describes it; `alive` if it is still the same process."""

    pid: int
    command: str
    alive: bool

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def clear_dead_locks() -> list[Holder]:
    """Take dead processes, and this one, out of DVC's record, or all if it is damaged; returns who is left.

    Call it before this process has locked anything.
    """
    if not FILE.exists():
        return []
    with _guard():
        content = read()
        if content is None:
            FILE.unlink()
            return []
        found = {(info["pid"], info["cmd"]): _holder(info) for info in _entries(content)}

        def kept(info: dict[str, Any]) -> bool:
            return info["pid"] != os.getpid() and found[info["pid"], info["cmd"]].alive

        left = {
            "write": {path: info for path, info in content.get("write", {}).items() if kept(info)},
            "read": {
                p: some for p, infos in content.get("read", {}).items() if (some := [i for i in infos if kept(i)])
            },
        }
        if left != {"write": content.get("write", {}), "read": content.get("read", {})}:
            partial = FILE.with_name(".rwlock.partial")
            partial.write_text(json.dumps(left))
            os.replace(partial, FILE)
    return [holder for (pid, _), holder in found.items() if holder.alive and pid != os.getpid()]


def clear_run_cache() -> None:
    """Remove what was left half made in DVC's run cache. Call it while no other process uses DVC here."""
    for key in _run_cache().glob("??/*"):
        with suppress(OSError):  # a shared cache may hold folders of others
            for partial in key.glob(".*.tmp"):
                partial.unlink()
            key.rmdir()  # fails unless it is empty


def _run_cache() -> Path:
    from dvc.config import Config

    folder = Config(".dvc", validate=False)["cache"].get("dir", "cache")
    return Path(".dvc") / folder / "runs"


def holders() -> list[Holder] | None:
    """Who has locked files now, dead or alive; None if the record is damaged."""
    content = read()
    return None if content is None else list({_holder(info) for info in _entries(content)})


def read() -> dict[str, Any] | None:
    """DVC's record; None if it is damaged."""
    try:
        content = json.loads(FILE.read_text())
        return content if all(isinstance(info["pid"], int) and info["cmd"] for info in _entries(content)) else None
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _entries(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from content.get("write", {}).values()
    for infos in content.get("read", {}).values():
        yield from infos


def _holder(info: dict[str, Any]) -> Holder:
    return Holder(info["pid"], info["cmd"], _is_same_process(info["pid"], info["cmd"]))


def _is_same_process(pid: int, command: str) -> bool:
    """Whether process `pid` is the one that called itself `command` (its words as Python knows them).

    In doubt yes: DVC then names the process and the file to delete.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        asked = command.split()[1:]  # the first word may differ: a script, a module, -c
        words = " ".join(process.cmdline()).split()
        if words[len(words) - len(asked) :] != asked:
            return False
        # The same command again, elsewhere. The start alone would not do: it moves when the clock is set.
        elsewhere = not Path(process.cwd()).is_relative_to(Path.cwd())
        return not (elsewhere and process.create_time() > FILE.stat().st_mtime)
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, OSError):
        return True


@contextmanager
def _guard() -> Iterator[None]:
    """The lock under which DVC edits the record, for milliseconds."""
    from dvc.lock import Lock

    lock = Lock(str(FILE.with_name("rwlock.lock")), wait=True)
    with lock:
        yield
