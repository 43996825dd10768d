"""dvc.lock, written as DVC writes it, without reading it anew for every stage.

DVC parses and formats the whole file for each stage that it records, which makes a run quadratic in the number of
stages. Here every stage's entry is formatted once, by DVC's own formatter, and the file is the entries in a row.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from tasks.state import STATE

HEAD = "schema: '2.0'\nstages:\n"
_LAID_OUT = re.compile(r"(?:  \S.*:\n(?:    .*\n|\n)*)*")
_NAME = re.compile(r"^  (?=\S)(.+):\n", re.MULTILINE)


class LockFile:
    """Entries of `path`, in the order in which serial `dvc repro` would have written them.

    DVC replaces a known stage's entry where it stands and appends a new one; `order` is the order in which it would
    run the stages, so new entries are sorted by it, whichever was finished first. Which are new is noted in
    `.unlabeled/`, so that a run which goes on where another was killed sorts as if there had been one; `settle`
    ends that.
    """

    def __init__(self, path: Path, order: list[str]):
        self._path = path
        self._note = path.parent / STATE / f"{path.name}.new"
        self._rank = {name: rank for rank, name in enumerate(order)}
        self._new: set[str] = set()
        self._seen: tuple[int, int, int] | None = None
        self._hash = ""
        self._head, self._entries = HEAD, dict[str, str]()

    def record(self, entry: dict) -> None:
        """Put the entry `{name: {...}}` of a stage in its place and write the file; complete or not at all."""
        from dvc.utils.serialize import dumps_yaml

        self._refresh()
        ((name, _),) = entry.items()
        text = dumps_yaml({"stages": entry}).partition("\n")[2]
        if name not in self._entries:
            self._new.add(name)
        self._entries[name] = text
        if name in self._new:
            self._sort()
        self._write(self._head + "".join(self._entries.values()))

    def settle(self) -> None:
        """Say that the run is complete: what is in the file now is not new any more."""
        self._new.clear()
        self._note.unlink(missing_ok=True)

    def _refresh(self) -> None:
        """Read the file if another program has written it since."""
        if self._seen is not None and self._stamp() == self._seen:
            return
        content = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        self._hash = _hash(content)
        self._head, self._entries = split(content)
        self._new = (self._noted() if self._seen is None else self._new) & set(self._entries)

    def _sort(self) -> None:
        old = [name for name in self._entries if name not in self._new]
        new = sorted(self._new, key=lambda name: self._rank.get(name, len(self._rank)))
        self._entries = {name: self._entries[name] for name in [*old, *new]}

    def _noted(self) -> set[str]:
        """New stages of a run that was not completed, unless another program has written the file since."""
        try:
            before, after, *new = self._note.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ValueError):
            return set()
        return set(new) if self._hash in (before, after) else set()

    def _write(self, content: str) -> None:
        before, self._hash = self._hash, _hash(content)
        if self._new:  # first: should death come between the two, the note fits the former file
            self._note.parent.mkdir(exist_ok=True)
            _replace(self._note, "\n".join([before, self._hash, *sorted(self._new)]), sync=False)
        _replace(self._path, content, sync=True)
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        if not self._path.exists():
            return None
        status = self._path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns


def _replace(path: Path, content: str, sync: bool) -> None:
    """Write a file completely or not at all; with `sync` also should the power fail."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(content)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())
    os.replace(partial, path)


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def split(content: str) -> tuple[str, dict[str, str]]:
    """What stands before the first stage, and the text of every stage, of a lock file.

    A file that is not laid out as DVC does it (another program's indentation, no end of the last line) is laid out
    anew.
    """
    if not content.strip():
        return HEAD, {}
    head, found, body = content.partition("\nstages:\n")
    if not found or not body.endswith("\n") or not _LAID_OUT.fullmatch(body):
        head, found, body = _laid_out(content).partition("\nstages:\n")
    if not found:
        return HEAD, {}  # `stages: {}`, as DVC leaves it when the last stage is removed
    names = list(_NAME.finditer(body))
    bounds = [*(m.start() for m in names), len(body)]
    entries = {m.group(1).strip("'\""): body[m.start() : end] for m, end in zip(names, bounds[1:], strict=True)}
    return head + found, entries


def _laid_out(content: str) -> str:
    from dvc.utils.serialize import dumps_yaml
    from ruamel.yaml import YAML

    parsed = YAML(typ="safe").load(content)
    stages = parsed.pop("stages", {})
    return dumps_yaml({**parsed, "stages": stages})


def damage(path: Path = Path("dvc.lock")) -> str | None:
    """What is wrong with a lock file that DVC cannot use, with the line if there is one; None if it is sound."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from voluptuous import Invalid

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        if content is None:
            return f"{path}: empty"
        COMPILED_LOCKFILE_SCHEMA(content)
        for stage, entry in content.get("stages", {}).items():
            for item in [*entry.get("deps", []), *entry.get("outs", [])]:
                if item.get("hash", "md5") != "md5":
                    return f"{path}: {stage}: {item['path']}: unknown hash '{item['hash']}'"
    except FileNotFoundError:
        return None
    except MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        return f"{path}:{line} {error.problem or 'not YAML'}"
    except (Invalid, YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        return f"{path}: damaged ({str(error).splitlines()[0]})"
    return None
