"""Random graphs with random histories: our driver and `dvc repro` agree on what runs and on dvc.lock, to the byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

STAGES = 12
TEXTS = ("red", "tan", "sky")  # few and equally long, so that histories often return to a former state


@dataclass
class Stage:
    """One stage of a random graph; `make` decides how much of a changed input shows in the output."""

    deps: list[int]
    make: str = "copy"  # copy: all of it; count: its length; folder: a folder with a copy and a constant
    source: bool = False
    param: bool = False
    cached: bool = True
    there: bool = True
    renamed: bool = False
    version: int = 0


@dataclass
class Project:
    """A graph and the state of everything that it reads; `write` puts both into a folder."""

    stages: list[Stage]
    sources: dict[int, str] = field(default_factory=dict)
    params: dict[int, int] = field(default_factory=dict)

    def name(self, i: int) -> str:
        return f"renamed{i}" if self.stages[i].renamed else f"stage{i}"

    def entry(self, i: int) -> dict[str, Any]:
        """The stage as dvc.yaml declares it."""
        stage = self.stages[i]
        deps = [f"out{j}" for j in stage.deps if self.stages[j].there]
        files = [f"{d}/copy" if self.stages[int(d[3:])].make == "folder" else d for d in deps]
        if stage.source or not deps:  # a stage that depends on nothing would always run
            deps.append(f"source{i}")
            files.append(f"source{i}")
        read = f"cat {' '.join(files)}" + (f"; grep ^p{i}: params.yaml" if stage.param else "")
        made = {"copy": f"> out{i}", "count": f"| wc -c > out{i}", "folder": f"> out{i}/copy; echo 1 > out{i}/constant"}
        command = f"{{ {read}; }} {made[stage.make]}"
        if stage.make == "folder":
            command = f"mkdir -p out{i}; {command}"
        if stage.version:  # another command with the same output
            command = f": version {stage.version}; {command}"
        entry: dict[str, Any] = {"cmd": command, "deps": deps}
        if stage.param:
            entry["params"] = [f"p{i}"]
        entry["outs"] = [f"out{i}" if stage.cached else {f"out{i}": {"cache": False}}]
        return entry

    def write(self, folder: Path) -> None:
        for i in range(len(self.stages)):
            path, text = folder / f"source{i}", self.sources.get(i, TEXTS[0]) + f" {i}\n"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.dump({f"p{i}": self.params.get(i, 0) for i in range(len(self.stages))}, folder / "params.yaml")
        there = [i for i, stage in enumerate(self.stages) if stage.there]
        yaml.dump({"stages": {self.name(i): self.entry(i) for i in there}}, folder / "dvc.yaml")


# ---- random projects and edits --------------------------------------------------------------------------------


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """3 to 12 stages: chains, diamonds, fans and independent parts, as chance will have it."""
    stages: list[Stage] = []
    for i in range(draw(st.integers(3, STAGES))):
        deps = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=3)) if i else []
        make = draw(st.sampled_from(["copy", "copy", "count", "folder"]))
        flags = [draw(st.booleans()) for _ in range(2)]
        stages.append(Stage(sorted(deps), make, *flags, cached=draw(st.integers(0, 3)) > 0))
    return Project(stages)


Edit = tuple[str, int, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(
            ["source", "source", "param", "version", "there", "renamed", "deleted", "damaged", "touched", "cached"]
        ),
        st.integers(0, STAGES - 1),
        st.integers(0, 2),
    ),
    max_size=3,
)


def apply(edits: list[Edit], project: Project, folders: list[Path]) -> None:
    """Edit the project, and its outputs by hand, the same in all folders."""
    for kind, at, value in edits:
        i = at % len(project.stages)
        stage = project.stages[i]
        if kind == "source":
            project.sources[i] = TEXTS[value]
        elif kind == "param":
            project.params[i] = value
        elif kind == "version":
            stage.version = value
        elif kind in ("there", "renamed", "cached"):
            setattr(stage, kind, not getattr(stage, kind))
        else:
            for folder in folders:
                BY_HAND[kind](folder / f"out{i}")
    if not any(stage.there for stage in project.stages):
        project.stages[0].there = True
    for folder in folders:
        project.write(folder)


def delete(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def damage(output: Path) -> None:
    for file in [output, output / "copy"]:
        if file.is_file():
            file.write_text(file.read_text() + "edited by hand\n")


def touch(output: Path) -> None:
    if output.exists():
        os.utime(output)


BY_HAND: dict[str, Callable[[Path], None]] = {"deleted": delete, "damaged": damage, "touched": touch}


# ---- both drivers on the same history -------------------------------------------------------------------------


History = list[tuple[list[Edit], list[tuple[int, bool]]]]


def check_history(graphs, folder: Path, project: Project, history: History) -> None:
    """After each step of the history, with its kills: same dvc.lock, same outputs, nothing left to do.

    Where nothing was killed both must say the same of every stage, and fill the run cache alike. What a killed run
    has recorded is not run again, and it has recorded nothing but what `dvc repro` will have.
    """
    ours, theirs = graphs.create(folder / "ours"), graphs.create(folder / "theirs")
    killed_once = False
    for edits, kills in history:
        apply(edits, project, [ours, theirs])
        note((ours / "dvc.yaml").read_text())
        before = graphs.lock(ours)
        expected = graphs.repro(theirs)
        assert expected["errors"] == {}
        final, recorded = graphs.lock(theirs), set[str]()
        for kill in [*kills, None]:
            answer = graphs.drive(ours, kill=kill)
            if not answer["killed"]:
                break  # to the end, perhaps before it came to the change of a file at which it was to be killed
            killed_once = True
            for stage, entry in graphs.lock(ours).items():
                assert entry in (before.get(stage), final.get(stage)), f"{stage}: neither the old nor the new entry"
                if entry != before.get(stage):
                    recorded.add(stage)
        assert answer["errors"] == {}
        again = {stage for stage in recorded if answer["states"][stage] != "fresh"}
        assert not again, f"recorded by the killed run, but not taken for finished: {again}"
        if not killed_once:
            assert answer["states"] == expected["states"]
            assert graphs.contents(ours, ".dvc/cache/runs/**/*") == graphs.contents(theirs, ".dvc/cache/runs/**/*")
        assert (ours / "dvc.lock").read_text() == (theirs / "dvc.lock").read_text()
        assert graphs.contents(ours, "out*", "out*/*") == graphs.contents(theirs, "out*", "out*/*")
    graphs.assert_up_to_date(ours)
    assert set(graphs.drive(ours)["states"].values()) == {"fresh"}
    shutil.rmtree(folder)


KILLS = st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=2)
HISTORIES = st.lists(st.tuples(EDITS, st.just([])), min_size=2, max_size=5)
KILLED_HISTORIES = st.lists(st.tuples(EDITS, KILLS), min_size=2, max_size=4)


def few(examples: int):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # which thread is first is chance, so there is nothing to shrink
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@few(6)
@given(project=projects(), history=HISTORIES)
def test_same_stages_and_same_lock(graphs, tmp_path_factory, project: Project, history: History) -> None:
    check_history(graphs, tmp_path_factory.mktemp("twins"), project, history)


@few(4)
@given(project=projects(), history=KILLED_HISTORIES)
def test_same_lock_after_kills(graphs, tmp_path_factory, project: Project, history: History) -> None:
    check_history(graphs, tmp_path_factory.mktemp("twins"), project, history)


@pytest.mark.slow
@few(150)
@given(project=projects(), history=HISTORIES)
def test_same_stages_and_same_lock_many(graphs, tmp_path_factory, project: Project, history: History) -> None:
    check_history(graphs, tmp_path_factory.mktemp("twins"), project, history)


@pytest.mark.slow
@few(120)
@given(project=projects(), history=KILLED_HISTORIES)
def test_same_lock_after_kills_many(graphs, tmp_path_factory, project: Project, history: History) -> None:
    check_history(graphs, tmp_path_factory.mktemp("twins"), project, history)
