"""Change values in params.yaml, keeping its comments and layout; nothing is written unless the result is valid."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.declaration import PARAMS, DeclarationError, validate
from tasks.steps import did_you_mean


def set_values(assignments: list[str], path: Path = PARAMS) -> list[str]:
    """Apply `key.path=value` assignments (values are YAML); returns a line per change made.

    The key's parent must exist, so that a typing mistake does not add a key. Raises `DeclarationError`.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(path.read_text())
    changes = []
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise DeclarationError([f"--set {assignment}: write key.path=value"])
        value = YAML(typ="safe").load(text) if text else None
        parent, name = _parent(content, key)
        before = parent.get(name)
        if before != value:
            parent[name] = value
            changes.append(f"{path}: {key}: {before} -> {value}")
    if not changes:
        return []
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    validate(YAML(typ="safe", pure=True).load(buffer.getvalue()), str(path))
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(buffer.getvalue())
    os.replace(partial, path)
    return changes


def _parent(content: Any, key: str) -> tuple[Any, str]:
    *parts, name = key.split(".")
    node = content
    for index, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            where = ".".join(parts[: index + 1])
            known = node if isinstance(node, dict) else ()
            raise DeclarationError([f"--set {key}: no '{where}' in {PARAMS}{did_you_mean(part, known)}"])
        node = node[part]
    if not isinstance(node, dict):
        raise DeclarationError([f"--set {key}: '{'.'.join(parts)}' is not a mapping in {PARAMS}"])
    return node, name
