"""Graphs in text files: edges, adjacency lists, labels and attributes, each error with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.readers.paths import reading

REMEDY = "put the file there or correct the key (paths are relative to the workspace)"


def lines_of(file: Path) -> list[tuple[int, list[str]]]:
    """Line number from 1 and fields of every line; comments (`#`, `%`) and blank lines give no fields.

    Fields are separated by commas if the first line with fields has one, else by blanks and tabs.
    """
    with reading(file.absolute(), REMEDY):
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"path: {file} is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    separator: str | None = None
    result, first = [], True
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith(("#", "%")):
            line = ""
        if line and first:
            separator, first = ("," if "," in line else None), False
        fields = [field.strip() for field in line.split(separator)] if line else []
        result.append((number, fields))
    return result


def read_edges(file: Path, base: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Edges int64 [m, 2] numbered from 0, and weights float64 [m] if the lines have a third field."""
    rows = [(number, fields) for number, fields in lines_of(file) if fields]
    if not rows:
        raise ValueError(f"path: {file} has no edge; one line is 'vertex vertex' or 'vertex vertex weight'")
    width = len(rows[0][1])
    if width not in (2, 3):
        raise ValueError(
            f"path: {file}, line {rows[0][0]}: {width} fields, expected 'vertex vertex' or 'vertex vertex weight'"
        )
    edges, weights = np.empty((len(rows), 2), dtype=np.int64), np.empty(len(rows))
    for i, (number, fields) in enumerate(rows):
        if len(fields) != width:
            raise ValueError(
                f"path: {file}, line {number}: {len(fields)} fields where the lines before have {width}; correct it"
            )
        edges[i] = _vertex(fields[0], file, number, base), _vertex(fields[1], file, number, base)
        weights[i] = _number(fields[2], file, number) if width == 3 else 1.0
        if not (np.isfinite(weights[i]) and weights[i] > 0):
            raise ValueError(f"path: {file}, line {number}: weight {fields[2]}; weights must be positive and finite")
    return edges, weights if width == 3 else None


def read_adjacency(file: Path, base: int) -> tuple[np.ndarray, int]:
    """Edges int64 [m, 2] of adjacency lists, line i the neighbours of vertex i (blank: none), and the number of lines."""
    rows = lines_of(file)
    edges = [(i, _vertex(field, file, number, base)) for i, (number, fields) in enumerate(rows) for field in fields]
    if not edges:
        raise ValueError(f"path: {file} has no edge; line i lists the neighbours of vertex i")
    return np.array(edges, dtype=np.int64), len(rows)


def read_names(file: Path) -> list[str]:
    """One field per line; blank lines are unknown ("")."""
    names = []
    for number, fields in lines_of(file):
        if len(fields) > 1:
            raise ValueError(f"path: {file}, line {number}: {len(fields)} fields, expected one label per line")
        names.append(fields[0] if fields else "")
    return names


def read_matrix(file: Path) -> np.ndarray:
    """Numbers float32 [n, d], one row per line."""
    rows = [(number, fields) for number, fields in lines_of(file) if fields]
    if not rows:
        raise ValueError(f"path: {file} has no row of attributes; one line holds the attributes of one vertex")
    width = len(rows[0][1])
    matrix = np.empty((len(rows), width), dtype=np.float32)
    for i, (number, fields) in enumerate(rows):
        if len(fields) != width:
            raise ValueError(
                f"path: {file}, line {number}: {len(fields)} attributes where the lines before have {width}; fill it"
            )
        matrix[i] = [_number(field, file, number) for field in fields]
    return matrix


def classes_of(names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Labels int64 (-1 for "") and the class names: in numerical order if all are whole numbers, else alphabetical."""
    known = {name for name in names if name}
    numeric = all(name.lstrip("-").isdigit() for name in known)
    classes = sorted(known, key=lambda name: (int(name), name) if numeric else (0, name))
    index = {name: i for i, name in enumerate(classes)} | {"": -1}
    return np.array([index[name] for name in names], dtype=np.int64), classes


def _vertex(text: str, file: Path, number: int, base: int) -> int:
    try:
        vertex = int(text) - base
    except ValueError:
        raise ValueError(
            f"path: {file}, line {number}: '{text}' is no vertex; number them {base}, {base + 1}, ..."
        ) from None
    if vertex < 0:
        raise ValueError(f"path: {file}, line {number}: vertex {text} is below {base}; set 'base' or correct the file")
    return vertex


def _number(text: str, file: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"path: {file}, line {number}: '{text}' is no number; correct it") from None
