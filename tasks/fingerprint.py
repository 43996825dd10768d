"""code.yaml: for every data set, checkpoint and stage of a method, a hash of exactly the code behind it.

DVC cannot template a list of imports, so the stage `fingerprint` writes this file and every other stage
names its own entry among its parameters. An entry hashes the source of the steps in force (all arms) and of
every project module that they import, transitively, plus the runner; as syntax trees without docstrings, so
comments, docstrings and layout change nothing. For readers it also hashes the files under `path`.
"""

from __future__ import annotations

import ast
import hashlib
import os
from pathlib import Path
from typing import Any

import grimp
from ruamel.yaml import YAML

from tasks.declaration import Call, Declaration
from tasks.steps import NONE

CODE = Path("code.yaml")
DATA = Path("data")
RUNNER = ("tasks.run",)
RUNNER_OF_EVALUATE = ("tasks.run", "tasks.summary")
# These can refuse or report, but never change what a stage writes.
WITHOUT_EFFECT = {"tasks.schemas", "tasks.progress"}


def fingerprint(declaration: Declaration, workspace: Path = Path()) -> dict[str, Any]:
    """The content of code.yaml."""
    code = _Code(workspace)
    datasets = {
        name: {"code": code.of([call]), "files": files_hash(workspace, name, call)}
        for name, call in declaration.datasets.items()
    }
    checkpoints = {name: code.of([call]) for name, call in declaration.checkpoints.items()}
    methods = {
        name: {stage: code.of(list(calls.values())) for stage, calls in method.stages.items()}
        for name, method in declaration.methods.items()
    }
    return {"datasets": datasets, "checkpoints": checkpoints, "methods": methods}


def write_fingerprint(declaration: Declaration, workspace: Path = Path()) -> None:
    """Write code.yaml, atomically."""
    content = fingerprint(declaration, workspace)
    partial = workspace / f"{CODE}.partial"
    with open(partial, "w") as stream:
        stream.write("# Written by the stage `fingerprint`: what each stage's code is. Do not edit.\n")
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.dump(content, stream)
    os.replace(partial, workspace / CODE)


def module_hash(path: Path) -> str:
    """SHA-256 of a module's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            # An empty body is no valid tree to compare with, `pass` is what a lone docstring amounts to.
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def changed_behind_links(declaration: Declaration, workspace: Path = Path()) -> list[str]:
    """Data sets under a symbolic link whose files differ from code.yaml: DVC does not look behind links."""
    changed = []
    for name, call in declaration.datasets.items():
        path = workspace / str(call.parameters.get("path") or DATA)
        if path.resolve() != (workspace.resolve() / path) and path.exists():
            known = (
                YAML(typ="safe", pure=True).load((workspace / CODE).read_text()) if (workspace / CODE).exists() else {}
            )
            if known.get("datasets", {}).get(name, {}).get("files") != files_hash(workspace, name, call):
                changed.append(name)
    return changed


def files_hash(workspace: Path, name: str, call: Call) -> str | None:
    """Hash of names and contents under a reader's `path`; None for generators and for a path that is absent.

    DVC notices changes below `data/` only, so a `path` elsewhere is refused.
    """
    path = call.parameters.get("path")
    if path is None:
        return None
    folder = workspace / path
    if not Path(os.path.normpath(path)).is_relative_to(DATA):
        raise ValueError(
            f"params.yaml: datasets.{name}.path: '{path}' lies outside {DATA}/, where changes are not noticed; "
            f"copy it there or link it: ln -s {path} {DATA}/{name}"
        )
    if not folder.exists():
        return None
    total = hashlib.sha256()
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    for file in files:
        total.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with open(file, "rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


class _Code:
    """Import graph of `tasks` and the hashes of its modules, each computed once."""

    def __init__(self, workspace: Path):
        self.workspace = workspace
        self.graph = grimp.build_graph("tasks", cache_dir=None)
        self.hashes: dict[str, str] = {}

    def of(self, calls: list[Call]) -> str:
        steps = {f"tasks.{call.stage}.{call.step}" for call in calls if call.step != NONE}
        runner = RUNNER_OF_EVALUATE if any(call.stage == "evaluate" for call in calls) else RUNNER
        modules = set().union(*(self._closure(module) for module in steps.union(runner)))
        total = hashlib.sha256()
        for module in sorted(modules - WITHOUT_EFFECT):
            total.update(f"{module} {self._hash(module)}\n".encode())
        return total.hexdigest()[:16]

    def _closure(self, module: str) -> set[str]:
        return {module} | self.graph.find_upstream_modules(module)

    def _hash(self, module: str) -> str:
        if module not in self.hashes:
            path = self.workspace / Path(*module.split("."))
            self.hashes[module] = module_hash(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
        return self.hashes[module]
