"""Whether any file has changed since DVC last found everything up to date: a look at the files' stamps only.

DVC needs a second or two to say so, most of it to read its own files. Here the inode, size and time of change of all
that it would look at are compared with those of then, which is how DVC itself decides whether to hash a file anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from tasks.params import DeclarationError, read_yaml
from tasks.state import STATE, write_json

FILE = STATE / "fresh.json"
OWN = ("dvc.yaml", "dvc.lock", "params.yaml", "code.yaml", ".dvc/config", ".dvc/config.local", ".dvcignore")


def nothing_to_do(methods: list[str] | None) -> list[str] | None:
    """The stages of `methods` (None: all) if all are up to date, else None; in a second, without importing a step.

    What is up to date has been validated when it ran. None also for unknown methods and for files that cannot be
    read: whoever goes on from there says so better.
    """
    if not Path(".dvc/tmp").exists():
        return None  # DVC has never run here, and should bad input follow, it will have left no trace
    paths = _data_paths()
    if paths is None or any(path.resolve() != Path.cwd() / path for path in paths):
        return None  # data behind a link, which DVC does not follow
    if (stages := unchanged(methods)) is not None:
        return stages
    from dvc.exceptions import DvcException

    from flows.versioning import Graph

    try:
        with Graph() as graph:
            stages = graph.stages(methods)
            files = graph.files()
            before = signature(files)
            if stages is None or graph.changes(stages):
                return None
            if methods is None:
                write({"": stages, **graph.stages_of_methods()}, files, before)
            return stages
    except DvcException:
        return None


def _data_paths() -> list[Path] | None:
    try:
        datasets = read_yaml()["datasets"]
        entries = [values for entry in datasets.values() for values in (entry, *entry.values())]
        return [Path(str(v["path"])) for v in entries if isinstance(v, dict) and "path" in v] + [Path("data")]
    except (DeclarationError, KeyError, TypeError, AttributeError):
        return None


def write(stages: dict[str, list[str]], paths: Iterable[str], of: str) -> None:
    """Remember that everything was up to date when `signature(paths)` was `of`.

    `stages`: those of every method, and under "" those of all.
    """
    FILE.parent.mkdir(exist_ok=True)
    write_json(FILE, {"stages": stages, "paths": sorted(paths), "signature": of})


def unchanged(methods: list[str] | None) -> list[str] | None:
    """The stages of `methods` (None: all) if no file has changed since `write`; None if one has, or if in doubt."""
    try:
        known = json.loads(FILE.read_text())
        wanted = [known["stages"][name] for name in methods or [""]]
        if signature(known["paths"]) != known["signature"]:
            return None
        return sorted({stage for stages in wanted for stage in stages})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def signature(paths: Iterable[str]) -> str:
    """Hash of name, inode, size and time of change of every file below `paths` and of DVC's own, links followed."""
    total = hashlib.sha256(version("dvc").encode())
    for path in sorted({*OWN, *paths}):
        for file in _files(Path(path)):
            try:
                status = os.stat(file)
                stamp = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
            except FileNotFoundError:
                stamp = "absent"
            total.update(f"{file}\0{stamp}\n".encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            yield os.path.join(folder, name)
