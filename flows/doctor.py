"""`unlabeled doctor`: is everything in place? One line per check, with the remedy where something is wrong."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape

from flows import lockfile, locks, tracking, versioning
from flows.workspace import WorkspaceError
from tasks.declaration import validate
from tasks.params import PARAMS, PROFILES, DeclarationError, read_yaml

MINIMUM_FREE_GB = 2.0


class Problem(Exception):
    """A check failed; the message names the remedy."""


def examine(out: Console) -> int:
    """Run all checks and print them; returns 0 if all passed, else 1."""
    failed = 0
    for name, check in _checks():
        try:
            out.print(f"[green]ok[/]    {name}: {escape(check())}")
        except (Problem, DeclarationError) as problem:
            failed += 1
            for line in str(problem).splitlines():
                out.print(f"[red]wrong[/] {name}: {escape(line)}")
    return 1 if failed else 0


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    yield "python", _python
    yield "packages", _packages
    yield "device", _device
    for profile in PROFILES:
        yield f"declaration, profile {profile}", lambda profile=profile: _declaration(profile)
    yield "dvc.lock", _lock_file
    yield "dvc", _dvc
    yield "dvc remote", _remote
    yield "locks", _locks
    yield "prefect", _prefect
    yield "mlflow", _mlflow
    yield "disk", _disk
    yield "workspace", _writable


def _python() -> str:
    if sys.version_info[:2] != (3, 11):
        raise Problem(f"Python {sys.version.split()[0]}; 3.11 is what requirements.lock is resolved for")
    return sys.version.split()[0]


def _packages() -> str:
    wrong = []
    for line in requires("unlabeled") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            if not requirement.specifier.contains(version(requirement.name).split("+")[0], prereleases=True):
                wrong.append(f"{requirement.name} {version(requirement.name)} (want {requirement.specifier})")
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
    if wrong:
        raise Problem(f"{'; '.join(wrong)}: run 'make install'")
    return f"{len(requires('unlabeled') or [])} requirements met"


def _device() -> str:
    import torch

    cores = len(os.sched_getaffinity(0))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{cores} cores, GPU: {', '.join(gpus) or 'none'}"


def _declaration(profile: str) -> str:
    content = {**read_yaml(), "profile": profile}
    declaration = validate(content, str(PARAMS))
    return f"{len(declaration.methods)} methods, {len(declaration.datasets)} data sets"


def _dvc() -> str:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return f"{len(repo.index.stages)} stages, cache at {os.path.relpath(repo.cache.local.path)}"
    except DvcException as error:
        raise Problem(f"{error}; is this a clone with .dvc/ and dvc.yaml?") from error


def _remote() -> str:
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            return "none; docs/team.md says how a team shares results"
        url = repo.config["remote"].get(name, {}).get("url", "")
        try:
            remote = repo.cloud.get_remote(name)
            remote.fs.ls(remote.path, detail=False)
        except FileNotFoundError:
            return f"'{name}' at {url}: nothing there yet; 'dvc push --run-cache' fills it"
        except Exception as error:  # each kind of remote has errors of its own
            raise Problem(f"'{name}' at {url}: {_first_line(error)}; see 'dvc remote list' and docs/team.md") from error
    return f"'{name}' at {url} answers"


def _lock_file() -> str:
    damage = lockfile.damage()
    if damage is not None:
        raise Problem(f"{damage}; take it back with 'git checkout dvc.lock', or delete it: DVC's cache has the results")
    return "sound" if versioning.LOCK.exists() else "none yet"


def _locks() -> str:
    holders = locks.holders()
    if holders is None:
        raise Problem(f"{locks.FILE} is damaged, as a killed process leaves it: the next 'unlabeled run' removes it")
    dead = [str(holder) for holder in holders if not holder.alive]
    if dead:
        raise Problem(f"left behind by {', '.join(dead)}: the next 'unlabeled run' clears them")
    return f"in use by {', '.join(map(str, holders))}" if holders else "free"


def _prefect() -> str:
    from prefect.settings import PREFECT_API_URL

    from flows.server import ask_lasting_server

    address = PREFECT_API_URL.value()
    if not address:
        return "a temporary server for each run"
    try:
        ask_lasting_server(address)
    except WorkspaceError as error:
        raise Problem(str(error).removeprefix("Prefect at ")) from error
    return f"{address} answers"


def _mlflow() -> str:
    try:
        tracking.quick_failure()
        tracking.client().search_experiments(max_results=1)
    except Exception as error:
        otherwise = ", or unset MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else ""
        raise Problem(f"{tracking.tracking_uri()}: {_mlflow_trouble(error)}{otherwise}") from error
    count = len(tracking.waiting())
    return tracking.tracking_uri() + (f"; {count} evaluation(s) wait: run 'unlabeled sync'" if count else "")


def _mlflow_trouble(error: Exception) -> str:
    """What is wrong with MLflow, and the remedy."""
    both = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if getattr(error, "error_code", "") == "UNAUTHENTICATED":
        given = os.environ.get("MLFLOW_TRACKING_USERNAME") and os.environ.get("MLFLOW_TRACKING_PASSWORD")
        return f"wrong user or password; mend {both}" if given else f"it asks for a password; set {both}"
    if tracking.tracking_uri().startswith("http"):
        return f"it does not answer ({_first_line(_cause(error))}); start the server"
    return f"it cannot be read ({_first_line(error)}); mend it or move it away"


def _cause(error: BaseException) -> BaseException:
    """The error at the bottom: MLflow wraps "connection refused" in four others."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < MINIMUM_FREE_GB:
        raise Problem(
            f"{free:.1f} GB free; below {MINIMUM_FREE_GB:g} GB a run may not finish. Try 'dvc gc --workspace'"
        )
    return f"{free:.0f} GB free"


def _writable() -> str:
    if not os.access(Path.cwd(), os.W_OK):
        raise Problem(f"{Path.cwd()} is not writable")
    return str(Path.cwd())
