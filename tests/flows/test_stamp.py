"""The short way to `nothing to do` must see whatever DVC would see."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import stamp

STAGES = {"": ["a", "b@x", "b@y"], "x": ["a", "b@x"], "y": ["a", "b@y"]}
PATHS = ["data", "out/one", "out/absent"]


@pytest.fixture
def stamped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files of a graph, and data behind a link, found up to date."""
    monkeypatch.chdir(tmp_path)
    for file in ("dvc.yaml", "dvc.lock", "elsewhere/image", "out/one/deep/file", "data/table"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("before")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    stamp.write(STAGES, PATHS, stamp.signature(PATHS))
    return tmp_path


def test_unchanged_names_the_stages_of_the_methods(stamped: Path) -> None:
    assert stamp.unchanged(None) == ["a", "b@x", "b@y"]
    assert stamp.unchanged(["x"]) == ["a", "b@x"]
    assert stamp.unchanged(["x", "y"]) == ["a", "b@x", "b@y"]
    assert stamp.unchanged(["z"]) is None


def rewrite(path: Path) -> None:
    """Other content of the same size, and the old time: only the inode differs."""
    times = path.stat()
    other = path.with_name("other")
    other.write_text("behind")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda f: (f / "data/table").write_text("after!"),
    "same size and time": lambda f: rewrite(f / "out/one/deep/file"),
    "deep file removed": lambda f: (f / "out/one/deep/file").unlink(),
    "file added": lambda f: (f / "data/more").write_text(""),
    "file renamed": lambda f: (f / "data/table").rename(f / "data/tables"),
    "absent one appears": lambda f: (f / "out/absent").write_text(""),
    "behind a link": lambda f: (f / "elsewhere/image").write_text("after!"),
    "link moved": lambda f: ((f / "data/linked").unlink(), (f / "data/linked").symlink_to(f / "out")),
    "dvc.lock": lambda f: (f / "dvc.lock").write_text("after!"),
    "params.yaml appears": lambda f: (f / "params.yaml").write_text(""),
    "other cache": lambda f: ((f / ".dvc").mkdir(), (f / ".dvc/config.local").write_text("")),
    "stamp damaged": lambda f: (f / stamp.FILE).write_text("{"),
    "stamp of another kind": lambda f: (f / stamp.FILE).write_text("[]"),
    "no stamp": lambda f: (f / stamp.FILE).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(stamped: Path, change: str) -> None:
    CHANGES[change](stamped)
    assert stamp.unchanged(None) is None


def test_compiled_modules_do_not_count(stamped: Path) -> None:
    (stamped / "data/__pycache__").mkdir()
    (stamped / "data/__pycache__/x.pyc").write_text("")
    assert stamp.unchanged(None) is not None
