"""Text files and delimited tables that a user put into a folder."""

from __future__ import annotations

import csv
from pathlib import Path

from tasks.readers.paths import entries, reading

Row = list[str]


def read_text(file: Path, encoding: str) -> str:
    """Content of a file; ValueError naming file, place and remedy if its bytes are not text in `encoding`."""
    with reading(file):
        content = file.read_bytes()
    if b"\0" in content:
        raise ValueError(f"path: {file} is not a text file (it holds zero bytes); remove it or convert it to text")
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise ValueError(f"encoding: '{encoding}' is unknown; use utf-8, latin-1 ...") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path: {file} is not {encoding} ({error.reason} at byte {error.start}); correct 'encoding', e.g. latin-1"
        ) from error


def files_in(folder: Path) -> list[Path]:
    """Files of a folder by name, whatever they end in (newsgroup articles end in nothing); hidden ones are left out."""
    return [entry for entry in entries(folder) if entry.is_file()]


def read_rows(file: Path, encoding: str, delimiter: str) -> list[Row]:
    """Rows of a delimited file; ValueError naming file and line if rows differ in length or quotes do not close."""
    text = read_text(file, encoding)
    # A field may exceed csv's own limit of 131,072 characters: documents may be long.
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
        rows: list[Row] = []
        for row in reader:
            if not row:
                continue
            if rows and len(row) != len(rows[0]):
                raise ValueError(
                    f"path: {file}, line {reader.line_num}: {len(row)} columns, the first line has {len(rows[0])}; "
                    "correct the line or 'delimiter'"
                )
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"path: {file}: {error}; quote fields that hold quotes or line breaks") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise ValueError(f"path: {file} is empty; add a line for each document")
    return rows
