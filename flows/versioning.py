"""All that we ask of DVC: which stages are stale and why, run one, restore one. Nothing else imports dvc.

DVC's Python interface is used as `dvc repro --single-item` uses it; the one thing replaced is how a stage's
command is started (`flows.warm`).
"""

from __future__ import annotations

import logging
import os
import shlex
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows import warm
from tasks.declaration import Declaration
from tasks.fingerprint import changed_behind_links
from tasks.steps import METHOD_STAGES

FINGERPRINT = "fingerprint"
LOCK = Path("dvc.lock")
COMMAND = ["python", "-m", "tasks"]


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
    """`dvc repro --single-item` of one stage, with its command in a warm process; output lines go to `on_line`.

    DVC itself decides, restores from its run cache, saves the outputs and writes dvc.lock. `force` runs the
    stage although DVC sees no change. Raises `StageFailed`; a failed stage gets its former outputs back, as
    dvc.lock still describes them.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # Prefect would show its hints about git
    small = {path: path.read_bytes() for path in _uncached_outputs(stage) if path.is_file()}
    tail: deque[str] = deque(maxlen=40)
    codes: list[int] = []

    def run(arguments: list[str]) -> int:
        def tell(line: str) -> None:
            tail.append(line)
            on_line(line)

        flow_run = {"UNLABELED_FLOW_RUN": os.environ.get("UNLABELED_FLOW_RUN", "")}
        codes.append(warm.run_stage(arguments, tell, flow_run))
        return codes[-1]

    try:
        with _commands_run_by(run), Repo() as repo:
            repo.reproduce(targets=[stage], single_item=True, force=force)  # pyright: ignore[reportCallIssue]
    except DvcException as error:
        _restore(stage, small)
        raise _failure(stage, list(tail), codes[-1] if codes else None, error, isinstance(error, LockError)) from error
    except BaseException:
        _restore(stage, small)
        raise


@contextmanager
def _commands_run_by(run: Callable[[list[str]], int]) -> Iterator[None]:
    """Let DVC call `run` where it would start `python -m tasks ...` in a shell.

    `dvc.stage.run.cmd_run` is not a public name: tests/flows/test_versioning.py fails if DVC moves it.
    """
    import dvc.stage.run as dvc_run
    from dvc.stage.exceptions import StageCmdFailedError

    def cmd_run(stage: Any, dry: bool = False, run_env: dict[str, str] | None = None) -> None:
        words = shlex.split(stage.cmd)
        if dry or words[:3] != COMMAND:
            return original(stage, dry=dry, run_env=run_env)
        code = run(words[3:])
        if code:
            raise StageCmdFailedError(stage.cmd, code)

    original: Any = dvc_run.cmd_run
    dvc_run.cmd_run = cmd_run
    try:
        yield
    finally:
        dvc_run.cmd_run = original


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


def _failure(stage: str, tail: list[str], code: int | None, error: Exception, locked: bool) -> StageFailed:
    messages = [line.removeprefix("error: ") for line in tail if line.startswith("error: ")]
    if not messages:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        messages = [*[line for line in tail if line.strip()][-3:], f"{stage}: {cause}"]
    # Negative: ended by a signal, as the kernel does when memory runs out.
    killed = code is not None and code < 0
    return StageFailed(stage, messages, bad_input=code == 2, transient=killed or locked)
