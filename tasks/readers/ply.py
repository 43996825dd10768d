"""PLY files (Turk 1994): the vertices of a point cloud or mesh, text or binary."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.readers.paths import reading

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_vertices(path: Path) -> dict[str, np.ndarray]:
    """Property name -> values [n] of the element `vertex`; other elements are passed over.

    Raises ValueError naming the file: no PLY, no vertices, an unknown type or format, a list property, cut short.
    """
    with reading(path):
        content = path.read_bytes()
    head, mark, body = content.partition(b"end_header")
    if not head.startswith(b"ply") or not mark:
        raise ValueError(f"path: {path} is no PLY file (it lacks 'ply' or 'end_header'); restore or delete it")
    body = body[2:] if body.startswith(b"\r\n") else body[1:]
    try:
        lines = [line.split() for line in head.decode("ascii").splitlines()[1:] if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"path: {path} is damaged (its header is no text); restore or delete it") from error
    form, elements = _header(path, lines)
    fields, count = [], 0
    for position, (name, number, properties) in enumerate(elements):
        if name != "vertex":
            continue
        if position:
            raise ValueError(f"path: {path} has element '{elements[0][0]}' before 'vertex'; write vertices first")
        fields, count = properties, number
    if not fields or count == 0:
        raise ValueError(f"path: {path} has no vertices; delete it")
    if form == "ascii":
        return _from_text(path, body, fields, count)
    kind = np.dtype([(name, _ORDER[form] + code) for name, code in fields])
    if len(body) < count * kind.itemsize:
        raise ValueError(
            f"path: {path} is cut short: {len(body)} bytes for {count} vertices of {kind.itemsize}; restore it"
        )
    table = np.frombuffer(body, kind, count)
    return {name: table[name].astype(table[name].dtype.newbyteorder("=")) for name, _ in fields}


def _header(path: Path, lines: list[list[str]]) -> tuple[str, list[tuple[str, int, list[tuple[str, str]]]]]:
    """Format, and (element, count, [(property, NumPy type)]) in the order of the file."""
    form, elements = "", []
    try:
        for word, *rest in lines:
            if word == "format":
                form = rest[0]
            elif word == "element":
                elements.append((rest[0], int(rest[1]), []))
            elif word == "property" and rest[0] == "list":
                if elements[-1][0] == "vertex":
                    raise ValueError(f"path: {path} has a list property '{rest[-1]}' of vertices; write single values")
            elif word == "property":
                if rest[0] not in _TYPES:
                    raise ValueError(f"path: {path}: unknown type '{rest[0]}' of property '{rest[1]}'")
                elements[-1][2].append((rest[1], _TYPES[rest[0]]))
    except (IndexError, TypeError) as error:
        raise ValueError(f"path: {path} is damaged (header); restore or delete it") from error
    if form not in _ORDER:
        raise ValueError(f"path: {path}: unknown format '{form}', expected {', '.join(_ORDER)}")
    return form, elements


def _from_text(path: Path, body: bytes, fields: list[tuple[str, str]], count: int) -> dict[str, np.ndarray]:
    lines = [line for line in body.splitlines() if line.strip()][:count]
    try:
        rows = [[float(word) for word in line.split()[: len(fields)]] for line in lines]
        table = np.array(rows, dtype=np.float64).reshape(-1, len(fields))
    except ValueError as error:
        raise ValueError(f"path: {path} is damaged ({error}); restore or delete it") from error
    if len(table) < count:
        raise ValueError(f"path: {path} is cut short: {len(table)} of {count} vertices; restore it")
    return {name: table[:, i].astype(code) for i, (name, code) in enumerate(fields)}
