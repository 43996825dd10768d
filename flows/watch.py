"""The flow `watch`: bring those methods up to date whose data files have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.states import Completed, Failed
from ruamel.yaml import YAML

from flows import versioning
from flows.pipeline import pipeline
from flows.workspace import enter_workspace
from tasks.declaration import Call, merge
from tasks.fingerprint import CODE, DATA, files_hash
from tasks.params import PARAMS, DeclarationError, read_yaml
from tasks.steps import did_you_mean


@flow(name="watch", flow_run_name="watch", persist_result=False)
def watch(methods: list[str] | None = None) -> State:
    """Look whether data files have changed since they were last read, and run the methods that use them.

    `methods`: which to look after (default: all). A method whose parameters or code have changed, or that has never
    run, is left to the nightly run.
    """
    enter_workspace()
    affected = affected_methods(methods)
    if not affected:
        return Completed(message="no data changed")
    for method, datasets in affected.items():
        get_run_logger().info("%s: files of %s changed", method, ", ".join(datasets))
    state: State = pipeline(list(affected), return_state=True)
    message = f"data of {', '.join(affected)} changed; {state.message}"
    return Completed(message=message) if state.is_completed() else Failed(message=message)


def affected_methods(methods: list[str] | None = None) -> dict[str, list[str]]:
    """Methods whose data sets' files differ from those that dvc.lock was made from, with the names of these data sets.

    No step is imported, and no file read whose size and time DVC knows, except for those behind symbolic links.
    Raises `DeclarationError` for an unknown method.
    """
    content = read_yaml()
    declared = content.get("methods") or {}
    for method in methods or ():
        if method not in declared:
            raise DeclarationError([f"unknown method '{method}'{did_you_mean(method, declared)}"])
    used = {method: _datasets(content, declared[method]) for method in methods or declared}
    changed = changed_datasets(content, sorted(set().union(*used.values())))
    return {method: found for method, names in used.items() if (found := [name for name in names if name in changed])}


def changed_datasets(content: dict[str, Any], names: list[str]) -> list[str]:
    """Those of the data sets `names` whose files alone have changed since they were prepared."""
    prepared = {name: _prepared_from(content, name) for name in names}
    readers = {name: files for name, files in prepared.items() if files is not None}
    if not readers:
        return []
    known = _read(CODE).get("datasets", {})
    with versioning.Graph() as graph:
        reasons = graph.changes([versioning.FINGERPRINT]).get(versioning.FINGERPRINT, [])
    moved = any(reason.startswith(f"dep {DATA}:") for reason in reasons)
    changed = []
    for name, files in readers.items():
        path = _path(content, name)
        if moved or path.resolve() != Path.cwd() / path:  # DVC does not look behind links
            now = files_hash(Path(), name, Call("prepare", "", {"path": str(path)}))
        else:  # nothing below data/ has changed since code.yaml was written
            now = known.get(name, {}).get("files")
        if now != files:
            changed.append(name)
    return changed


def _prepared_from(content: dict[str, Any], name: str) -> str | None:
    """Hash of the files that a data set was prepared from.

    None for generated data, and where its parameters have changed since or it has never been prepared.
    """
    params = _read(versioning.LOCK).get("stages", {}).get(f"prepare@{name}", {}).get("params", {})
    was = params.get(str(PARAMS), {})
    if was.get("profile") != content.get("profile") or was.get(f"datasets.{name}") != content["datasets"].get(name):
        return None
    return params.get(str(CODE), {}).get(f"datasets.{name}", {}).get("files")


def _path(content: dict[str, Any], name: str) -> Path:
    entry = content["datasets"][name]
    return Path(merge(entry, entry.get(content["profile"]) or {})["path"])


def _datasets(content: dict[str, Any], method: dict[str, Any]) -> list[str]:
    """What the method and its checkpoint are made from."""
    checkpoint = (content.get("checkpoints") or {}).get(method.get("checkpoint")) or {}
    return [name for name in dict.fromkeys([method.get("data"), checkpoint.get("data")]) if name is not None]


def _read(path: Path) -> dict[str, Any]:
    return (YAML(typ="safe").load(path.read_text()) or {}) if path.exists() else {}
