"""Staleness is exact: a change of code makes exactly its users stale, a change of words nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.fingerprint import changed_behind_links, files_hash, module_hash

SERVER = """
import json, sys
from tasks.declaration import load_declaration
from tasks.fingerprint import fingerprint
for _ in sys.stdin:
    try:
        answer = fingerprint(load_declaration())
    except ValueError as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""


class Toy:
    """A toy workspace with a process that computes its code.yaml on demand; `undo` puts every file back."""

    def __init__(self, workspace: Any):
        self.workspace = workspace
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=workspace.folder, env=workspace.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.originals: dict[str, str | None] = {}

    def write(self, path: str, text: str) -> None:
        file = self.workspace.folder / path
        self.originals.setdefault(path, file.read_text() if file.exists() else None)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        text = self.workspace.read(path)
        assert old in text
        self.write(path, text.replace(old, new, 1))

    def append(self, path: str, text: str) -> None:
        self.write(path, self.workspace.read(path) + text)

    def code(self) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def undo(self) -> None:
        for path, text in self.originals.items():
            file = self.workspace.folder / path
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
        self.originals.clear()


def flat(code: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(code, dict):
        return {prefix: code}
    return {k: v for key, inner in code.items() for k, v in flat(inner, f"{prefix}.{key}".strip(".")).items()}


@pytest.fixture(scope="module")
def server(make_toy_workspace: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    toy = Toy(make_toy_workspace(tmp_path_factory.mktemp("fingerprint") / "workspace"))
    # A second method uses other steps, and `toy_thirds` only in an arm.
    thirds = toy.workspace.read("tasks/cluster/toy_halves.py").replace("toy_halves", "toy_thirds")
    (toy.workspace.folder / "tasks/cluster/toy_thirds.py").write_text(thirds)

    def second(content: dict) -> None:
        content["methods"]["second"] = {**content["methods"]["toy"]}
        content["methods"]["second"]["cluster"] = {"step": "none", "arms": {"jittered": {"step": "toy_thirds"}}}
        content["datasets"]["files"] = {"step": "toy_blobs", "path": "data/files"}

    toy.workspace.declare(second)
    yield toy
    toy.process.kill()
    toy.process.communicate()


@pytest.fixture
def toy(server: Toy) -> Iterator[Toy]:
    yield server
    server.undo()


@pytest.fixture
def changed(toy: Toy) -> Callable[[], set[str]]:
    """Entries of code.yaml that differ from what they were when the test began."""
    before = flat(toy.code())

    def compare() -> set[str]:
        after = flat(toy.code())
        assert before.keys() == after.keys()
        return {key for key in after if after[key] != before[key]}

    return compare


BOTH = ("toy", "second")
EVALUATE = {f"methods.{m}.evaluate" for m in BOTH}
SELF_TRAIN = {f"methods.{m}.self_train" for m in BOTH}
METHODS = {f"methods.{m}.{s}" for m in BOTH for s in ("pretrain", "cluster", "pseudo_label", "self_train", "evaluate")}
EVERYTHING = METHODS | {
    "datasets.none.code", "datasets.blobs.code", "datasets.files.code", "checkpoints.none", "checkpoints.scale"
}  # fmt: skip


def test_one_entry_for_each_stage(toy: Toy) -> None:
    code = flat(toy.code())
    assert set(code) == EVERYTHING | {f"datasets.{n}.files" for n in ("none", "blobs", "files")}
    assert len(code["methods.toy.cluster"]) == 16


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Units left and right of the mean, with noise that shows the seed."""', '"""Other words."""'),
        ('"""Units left and right of the mean, with noise that shows the seed."""', ""),
        ("    x = representation", "    # why\n    x = representation"),
        ("    x = representation", '    """What it does."""\n    x = representation'),
        ("import numpy as np\n", "\n\n\nimport numpy as np  # arrays\n"),
        (".normal(size=len(x)) * jitter", ".normal(\n        size=len(x),\n    ) * jitter"),
        ("cluster = (x + noise > x.mean())", "cluster = ((x + noise) > (x.mean()))"),
        ('"cluster": cluster', "'cluster': cluster"),
    ],
)
def test_words_and_layout_change_nothing(toy: Toy, changed: Callable[[], set[str]], old: str, new: str) -> None:
    toy.edit("tasks/cluster/toy_halves.py", old, new)
    assert changed() == set()


def test_code_of_a_step_makes_exactly_its_users_stale(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.edit("tasks/cluster/toy_halves.py", "x + noise > x.mean()", "x + noise >= x.mean()")
    assert changed() == {"methods.toy.cluster"}


def test_default_of_a_parameter_is_code(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.edit("tasks/cluster/toy_halves.py", "jitter: float = 0.0", "jitter: float = 0.1")
    assert changed() == {"methods.toy.cluster"}


def test_step_that_only_an_arm_names_counts(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.edit("tasks/cluster/toy_thirds.py", "x + noise > x.mean()", "x + noise >= x.mean()")
    assert changed() == {"methods.second.cluster"}


def test_step_of_a_data_set_and_of_a_checkpoint(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.edit("tasks/prepare/toy_blobs.py", "gap: float = 4.0", "gap: float = 5.0")
    assert changed() == {"datasets.blobs.code", "datasets.files.code"}
    toy.undo()
    toy.edit("tasks/checkpoint/toy_weights.py", ".mean()", ".sum()")
    assert changed() == {"checkpoints.scale"}


def test_shared_module_makes_exactly_its_importers_stale(toy: Toy, changed: Callable[[], set[str]]) -> None:
    """Of the toy's steps only toy_vote imports the curve table."""
    toy.append("tasks/curves.py", "\nMORE = 1\n")
    assert changed() == SELF_TRAIN


def test_import_inside_a_function_counts(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.edit(
        "tasks/cluster/toy_halves.py", "    x = repr", "    from tasks.curves import curve_table as _\n    x = repr"
    )
    assert changed() == {"methods.toy.cluster"}
    toy.append("tasks/curves.py", "\nMORE = 1\n")
    assert changed() == {"methods.toy.cluster"} | SELF_TRAIN


def test_summary_belongs_to_evaluate_alone(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.append("tasks/summary.py", "\nMORE = 1\n")
    assert changed() == EVALUATE
    toy.undo()
    toy.append("tasks/claims.py", "\nMORE = 1\n")
    assert changed() == EVALUATE


@pytest.mark.parametrize(
    "path",
    ["tasks/schemas.py", "tasks/progress.py", "tasks/console.py", "tasks/record.py", "tasks/fingerprint.py", "tasks/predict.py",
     "tasks/__main__.py", "flows/tracking.py", "flows/report.py"],
)  # fmt: skip
def test_what_cannot_change_a_result_makes_nothing_stale(toy: Toy, changed: Callable[[], set[str]], path: str) -> None:
    toy.append(path, "\nMORE = 1\n")
    assert changed() == set()


@pytest.mark.parametrize(
    "path", ["tasks/run.py", "tasks/artifacts.py", "tasks/jobs.py", "tasks/steps.py", "tasks/validation.py"]
)
def test_runner_belongs_to_every_stage(toy: Toy, changed: Callable[[], set[str]], path: str) -> None:
    toy.append(path, "\nMORE = 1\n")
    assert changed() == EVERYTHING


def test_unused_step_makes_nothing_stale(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.write("tasks/cluster/unused.py", "def unused(): ...\n")
    assert changed() == set()


# ---- files of data sets ---------------------------------------------------------------------------------------


def test_files_of_a_data_set(toy: Toy, changed: Callable[[], set[str]]) -> None:
    toy.write("data/files/a/1.txt", "one")
    assert changed() == {"datasets.files.files"}
    first = toy.code()["datasets"]["files"]["files"]
    toy.write("data/files/a/1.txt", "two")
    second = toy.code()["datasets"]["files"]["files"]
    toy.write("data/files/b.txt", "")
    third = toy.code()["datasets"]["files"]["files"]
    assert len({first, second, third}) == 3
    toy.write("data/other/c.txt", "of another data set")
    assert toy.code()["datasets"]["files"]["files"] == third


@pytest.mark.parametrize("path", ["elsewhere/files", "/srv/files", "data/../secret", "../data/files"])
def test_path_outside_of_data(toy: Toy, path: str) -> None:
    toy.edit("params.yaml", "data/files", path)
    said = toy.code()
    assert said == (
        f"params.yaml: datasets.files.path: '{path}' lies outside data/, where changes are not noticed; "
        f"copy it there or link it: ln -s {path} data/files"
    )


def call(path: str | None) -> Any:
    from tasks.declaration import Call

    return Call("prepare", "toy_blobs", {} if path is None else {"path": path})


def test_rename_and_content_count_time_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "files"
    folder.mkdir(parents=True)
    (folder / "a").write_text("1")
    first = files_hash(tmp_path, "files", call("data/files"))
    (folder / "a").touch()
    assert files_hash(tmp_path, "files", call("data/files")) == first
    (folder / "a").rename(folder / "b")
    assert files_hash(tmp_path, "files", call("data/files")) != first
    assert files_hash(tmp_path, "files", call("data/files/b")) is not None
    assert files_hash(tmp_path, "files", call("data/absent")) is None
    assert files_hash(tmp_path, "files", call(None)) is None


def test_boundaries_between_files_count(tmp_path: Path) -> None:
    """Bytes that move from one file to the next are a change."""
    hashes = set()
    for name, (one, two) in {"x": ("ab", "c"), "y": ("a", "bc")}.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "1").write_text(one)
        (folder / "2").write_text(two)
        hashes.add(files_hash(tmp_path, name, call(f"data/{name}")))
    assert len(hashes) == 2


def test_change_behind_a_link_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.declaration import Declaration

    workspace, away = tmp_path / "workspace", tmp_path / "away"
    (workspace / "data").mkdir(parents=True)
    away.mkdir()
    (away / "a").write_text("1")
    (workspace / "data" / "files").symlink_to(away)
    (workspace / "data" / "own").mkdir()
    monkeypatch.chdir(workspace)
    declaration = Declaration("small", [0], {"files": call("data/files"), "own": call("data/own")})
    known = files_hash(Path(), "files", call("data/files"))
    Path("code.yaml").write_text(json.dumps({"datasets": {"files": {"files": known}, "own": {"files": "old"}}}))
    assert changed_behind_links(declaration) == []
    (away / "a").write_text("2")
    assert changed_behind_links(declaration) == ["files"]


# ---- modules --------------------------------------------------------------------------------------------------


def test_module_hash_keeps_strings_that_are_no_docstrings(tmp_path: Path) -> None:
    def of(source: str) -> str:
        (tmp_path / "m.py").write_text(source)
        return module_hash(tmp_path / "m.py")

    assert of('"""a"""\nx = 1\n') == of('"""b"""\nx = 1\n') == of("x = 1\n")
    assert of('x = """a"""\n') != of('x = """b"""\n')
    assert of('def f():\n    """a"""\n') == of('def f():\n    """b"""\n') == of("def f():\n    pass\n")
    assert of('class A:\n    """a"""\n    x = 1\n') == of("class A:\n    x = 1\n")
    assert of("x = 1\n") != of("x = 1.0\n")
    assert of("x = 1\n") != of("x = True\n")
    assert of("def f(a, b): ...\n") != of("def f(b, a): ...\n")
