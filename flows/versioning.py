"""All that we ask of DVC: which stages are stale and why, run one, restore one. Nothing else imports dvc.

Staleness is asked through DVC's Python interface, which takes milliseconds; a stage is run by
`dvc repro --single-item` in a process of its own, so that it can be stopped and its output be read.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.declaration import Declaration
from tasks.fingerprint import changed_behind_links
from tasks.steps import METHOD_STAGES

FINGERPRINT = "fingerprint"
LOCK = Path("dvc.lock")
GRACE_SECONDS = 5.0


@dataclass
class StageFailed(Exception):
    """A stage ended with an error. `bad_input`: retrying cannot help. `transient`: it may."""

    stage: str
    messages: list[str]
    bad_input: bool
    transient: bool

    def __str__(self) -> str:
        return "; ".join(self.messages) or f"{self.stage} failed"

    def __reduce__(self) -> tuple:
        return StageFailed, (self.stage, self.messages, self.bad_input, self.transient)


def stages_of(declaration: Declaration, methods: list[str], everything: bool = False) -> list[str]:
    """Stages of `methods` in an order that respects their dependencies; `everything` adds unused inputs."""
    chosen = [declaration.methods[name] for name in methods]
    used = {m.checkpoint for m in chosen}
    checkpoints = [n for n in declaration.checkpoints if everything or n in used]
    used = {m.data for m in chosen} | {declaration.checkpoint_data[n] for n in checkpoints}
    datasets = [n for n in declaration.datasets if everything or n in used]
    return [
        FINGERPRINT,
        *(f"prepare@{n}" for n in datasets),
        *(f"checkpoint@{n}" for n in checkpoints),
        *(f"{stage}@{m.name}" for m in chosen for stage in METHOD_STAGES),
    ]


def upstream_of(declaration: Declaration, stage: str) -> set[str]:
    """All stages that `stage` depends on, directly or not."""
    if stage == FINGERPRINT:
        return set()
    kind, name = stage.split("@")
    before = {FINGERPRINT}
    if kind == "checkpoint":
        before.add(f"prepare@{declaration.checkpoint_data[name]}")
    elif kind in METHOD_STAGES:
        method = declaration.methods[name]
        before |= {f"prepare@{method.data}", f"checkpoint@{method.checkpoint}"}
        before |= upstream_of(declaration, f"checkpoint@{method.checkpoint}")
        before |= {f"{earlier}@{name}" for earlier in METHOD_STAGES[: METHOD_STAGES.index(kind)]}
    return before


def changes(stages: list[str]) -> dict[str, list[str]]:
    """What makes each stale stage stale, by DVC's own account: `{"cluster@sbcl": ["changed params.yaml: ..."]}`.

    A stage missing from the answer is up to date now; it may still become stale through an upstream stage.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        status: dict[str, Any] = repo.status(targets=stages)
    return {stage.split(":")[-1]: list(_explain(entries)) for stage, entries in status.items()}


def refresh_fingerprint(declaration: Declaration) -> None:
    """Bring code.yaml up to date, also where data lie behind symbolic links, which DVC does not follow."""
    if changes([FINGERPRINT]) or changed_behind_links(declaration):
        reproduce(FINGERPRINT, force=True)


def reproduce(stage: str, on_line: Callable[[str], None] = lambda line: None, force: bool = False) -> None:
    """Run or restore one stage with `dvc repro --single-item`, passing each line of its output to `on_line`.

    `force` runs it although DVC sees no change.

    Raises `StageFailed`. A failed stage gets its former outputs back, as dvc.lock still describes them.
    """
    small = {path: path.read_bytes() for path in _uncached_outputs(stage) if path.is_file()}
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if force else []), stage]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
    )
    tail: deque[str] = deque(maxlen=40)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            on_line(line.rstrip())
        code = process.wait()
    except BaseException:
        end_group(process)
        _restore(stage, small)
        raise
    if code:
        _restore(stage, small)
        raise _failure(stage, list(tail))


def end_group(process: subprocess.Popen) -> None:
    """Stop a process and everything that it started: politely, then for good."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signum)
            process.wait(timeout=GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def lock_hashes(path: Path = LOCK) -> dict[str, dict[str, str]]:
    """`{stage: {output path: hash}}` of dvc.lock."""
    content = YAML(typ="safe", pure=True).load(path.read_text())
    return {
        stage: {out["path"]: out["md5"] for out in entry.get("outs", [])} for stage, entry in content["stages"].items()
    }


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


def _restore(stage: str, small: dict[Path, bytes]) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for path, content in small.items():
        if not path.exists():
            path.write_bytes(content)
    try:
        with Repo() as repo:
            repo.checkout(targets=[stage], force=True)
    except DvcException:
        return  # it has never run, or its outputs are not in the cache: there is nothing to give back


def _failure(stage: str, tail: list[str]) -> StageFailed:
    messages = [line.removeprefix("error: ") for line in tail if line.startswith("error: ")]
    exits = [int(code) for line in tail for code in re.findall(r"exited with (-?\d+)", line)]
    code = exits[-1] if exits else None
    locked = any("Unable to acquire lock" in line for line in tail)
    if not messages:
        messages = [line for line in tail if line.strip()][-3:]
    # Negative: ended by a signal, as the kernel does when memory runs out; a shell reports 128 + signal.
    killed = code is not None and (code < 0 or code > 128)
    return StageFailed(stage, messages, bad_input=code == 2, transient=killed or locked)
