"""dvc.lock as we write it is dvc.lock as DVC writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from flows.lockfile import LockFile, damage, split

NAMES = [*"abcdef", "evaluate@sbcl", "pretrain@a-very_long.name"]


def entry(name: str, value: int) -> dict:
    long = "artifacts/" + "/".join(["a rather long folder name"] * 5)  # DVC's formatter breaks lines at 80
    return {
        name: {
            "cmd": f"python -m tasks {name}",
            "deps": [{"path": long, "hash": "md5", "md5": f"{value:032x}.dir", "size": value, "nfiles": 3}],
            "params": {"params.yaml": {"methods": {"x": [1e-05, 0.1, "yes", "1e3", None, True, "ü", "a: b", ""]}}},
            "outs": [{"path": name, "hash": "md5", "md5": "a0" * 16, "size": value}],
        }
    }


def written_by_dvc(path: Path, entries: list[dict]) -> str:
    """What DVC's own Lockfile.dump_stages does with the file, one stage after the other."""
    from dvc.utils.serialize import modify_yaml

    for one in entries:
        with modify_yaml(path) as data:
            if not data:
                data.update({"schema": "2.0"})
            data["stages"] = data.get("stages", {})
            data["stages"].update(one)
    return path.read_text()


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.sampled_from(NAMES), unique=True, max_size=5),
    ran=st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=6),
    finished=st.randoms(use_true_random=False),
)
def test_same_bytes_whichever_stage_ends_first(tmp_path_factory, before: list, ran: list, finished) -> None:
    folder = tmp_path_factory.mktemp("lock")
    first = [entry(name, 1) for name in before]
    for name in ("ours", "theirs"):
        if first:
            written_by_dvc(folder / name, first)
    expected = written_by_dvc(folder / "theirs", [entry(name, 2) for name in ran])
    lock = LockFile(folder / "ours", order=ran)
    shuffled = list(ran)
    finished.shuffle(shuffled)
    for name in shuffled:
        lock.record(entry(name, 2))
    assert (folder / "ours").read_text() == expected


def test_what_another_program_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    lock = LockFile(path, order=["a", "b", "c"])
    lock.record(entry("a", 1))
    written_by_dvc(path, [entry("c", 1)])
    lock.record(entry("b", 1))
    _, stages = split(path.read_text())
    assert set(stages) == {"a", "b", "c"}


def test_head_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\ndatasets:\n- name: x\n  type: url\nstages:\n")
    LockFile(path, order=["a"]).record(entry("a", 1))
    assert path.read_text().startswith("schema: '2.0'\ndatasets:\n- name: x\n  type: url\nstages:\n  a:\n    cmd:")


def test_a_failed_write_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dvc.lock"
    lock = LockFile(path, order=["a", "b"])
    lock.record(entry("a", 1))
    before = path.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.lockfile.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        lock.record(entry("b", 1))
    assert path.read_text() == before


# ---- a run that was killed, and the one that goes on ----------------------------------------------------------


def in_file(path: Path) -> list[str]:
    return list(split(path.read_text())[1])


def test_a_run_that_goes_on_sorts_as_if_there_had_been_one(tmp_path: Path) -> None:
    path, order = tmp_path / "dvc.lock", ["a", "b", "c", "d"]
    written_by_dvc(path, [entry("d", 1)])
    LockFile(path, order).record(entry("c", 1))  # finished first, then the driver was killed
    again = LockFile(path, order)
    for name in ("b", "a"):
        again.record(entry(name, 1))
    assert in_file(path) == ["d", "a", "b", "c"]


def test_after_a_complete_run_or_another_program_nothing_is_new(tmp_path: Path) -> None:
    path, order = tmp_path / "dvc.lock", ["a", "b", "c"]
    first = LockFile(path, order)
    first.record(entry("c", 1))
    first.settle()
    LockFile(path, order).record(entry("b", 1))
    assert in_file(path) == ["c", "b"]
    written_by_dvc(path, [entry("c", 2)])
    LockFile(path, order).record(entry("a", 1))
    assert in_file(path) == ["c", "b", "a"]


@pytest.mark.parametrize("dies_at", [1, 2])
def test_note_and_file_fit_whenever_death_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    path, order, genuine = tmp_path / "dvc.lock", ["a", "b", "c"], os.replace
    LockFile(path, order).record(entry("c", 1))
    count = 0

    def dies(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == dies_at:
            raise KeyboardInterrupt
        genuine(source, target)

    monkeypatch.setattr("flows.lockfile.os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        LockFile(path, order).record(entry("b", 1))
    monkeypatch.undo()
    assert in_file(path) == ["c"]
    again = LockFile(path, order)
    again.record(entry("a", 1))
    again.record(entry("b", 1))
    assert in_file(path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "schema: '2.0'\nstages:\n  b:\n    cmd: echo\n  c:\n    cmd: echo",  # no end of the last line
        "schema: '2.0'\nstages:\n    b:\n        cmd: echo\n    c:\n        cmd: echo\n",
        "schema: '2.0'\nstages: {b: {cmd: echo}, c: {cmd: echo}}\n",
        "stages:\n  b:\n    cmd: echo\n# by hand\n  c:\n    cmd: echo\nschema: '2.0'\n",
    ],
)
def test_other_layouts_lose_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "theirs").write_text(text)
    (tmp_path / "dvc.lock").write_text(text)
    written_by_dvc(tmp_path / "theirs", [entry("c", 1), entry("d", 1)])
    lock = LockFile(tmp_path / "dvc.lock", order=["a", "b", "c", "d"])
    lock.record(entry("c", 1))
    lock.record(entry("d", 1))
    yaml = YAML(typ="safe")
    assert yaml.load((tmp_path / "dvc.lock").read_text()) == yaml.load((tmp_path / "theirs").read_text())


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    assert damage(path) is None
    LockFile(path, ["a"]).record(entry("a", 1))
    assert damage(path) is None
    whole = path.read_text()
    path.write_text(whole[: whole.index("    - path")] + "    - path: [")
    assert str(damage(path)).startswith(f"{path}: line ")
    path.write_text(whole.replace("hash: md5", "hash: m"))
    assert damage(path) == f"{path}: a: {'/'.join(['artifacts', *['a rather long folder name'] * 5])}: unknown hash 'm'"
    path.write_text("")
    assert damage(path) == f"{path}: empty"
