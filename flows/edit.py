"""Change values in params.yaml, keeping its comments and layout; nothing is written unless the result is valid."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from tasks.declaration import validate
from tasks.params import PARAMS, DeclarationError, read_yaml
from tasks.steps import did_you_mean


def set_values(assignments: list[str], path: Path = PARAMS) -> list[str]:
    """Apply `key.path=value` assignments (values are YAML); returns a line per change made.

    The key's parent must exist, so that a typing mistake does not add a key. Raises `DeclarationError`.
    """
    content, text, changes = read_yaml(path), path.read_text(), []
    for assignment in assignments:
        key, written, before, value = assign(content, assignment)
        if before != value:
            text = _replaced(text, key, written or "null", content)
            changes.append(f"{path}: {key}: {before} -> {value}")
    if not changes:
        return []
    validate(content, str(path))
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
    return changes


def assign(content: dict[str, Any], assignment: str) -> tuple[str, str, Any, Any]:
    """Apply one assignment to a parsed params.yaml: the key, the value as written, the one before and the new one.

    Raises `DeclarationError` for what is no assignment, no YAML, or below a key that is not there.
    """
    key, separator, written = assignment.partition("=")
    if not separator or not key:
        raise DeclarationError([f"--set {assignment}: write key.path=value"])
    try:
        value = _parsed(written) if written else None
    except YAMLError as error:
        raise DeclarationError([f"--set {assignment}: not a YAML value"]) from error
    parent, name = _parent(content, key)
    before = parent.get(name)
    if before != value:
        parent[name] = value
    return key, written, before, value


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


def _replaced(text: str, key: str, written: str, content: dict[str, Any]) -> str:
    """`text` with the value of `key` written as given; where that does not give `content`, laid out anew."""
    start, end, new = _place(text, key.split("."), written)
    edited = text[:start] + new + text[end:]
    try:
        if _parsed(edited) == content:
            return edited
    except YAMLError:
        pass  # the value does not fit in place, such as one with a comma between braces
    return _laid_out(text, key, content)


def _place(text: str, path: list[str], written: str) -> tuple[int, int, str]:
    """The span of `text` to replace, and by what; a key that is not there goes to the end of its mapping."""
    node = YAML(typ="safe", pure=True).compose(text)
    for index, part in enumerate(path):
        assert isinstance(node, MappingNode)
        found: Node | None = next((value for name, value in node.value if name.value == part), None)
        if found is None:
            assert index == len(path) - 1
            if node.flow_style:
                at = node.end_mark.index - 1
                return at, at, f"{', ' if node.value else ''}{part}: {written}"
            first = node.value[0][0].start_mark
            return first.index, first.index, f"{part}: {written}\n{' ' * first.column}"
        node = found
    return node.start_mark.index, node.end_mark.index, written


def _laid_out(text: str, key: str, content: dict[str, Any]) -> str:
    """ruamel's own way to change a value: comments stay, line breaks within braces may not."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    tree = yaml.load(text)
    (parent, name), (wanted, _) = _parent(tree, key), _parent(content, key)
    parent[name] = wanted[name]
    buffer = io.StringIO()
    yaml.dump(tree, buffer)
    return buffer.getvalue()


def _parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)
