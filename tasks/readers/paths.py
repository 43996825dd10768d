"""Paths that a user wrote in params.yaml, with errors that say what to do about them.

Every message opens with the key `path`, names the file or folder, and ends with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: Path, remedy: str = "restore it or correct 'path'") -> Iterator[None]:
    """Turn what the operating system says about `path` into one line: file, reason, remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"path: {path} does not exist; {remedy}") from error
    except PermissionError as error:
        raise ValueError(f"path: no permission to read {path}; grant it, e.g. chmod -R u+rX {path}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"path: {path}: {error.strerror}; {remedy}") from error


def existing_folder(
    path: str | Path, remedy: str = "put the data set there or correct 'path' (it is relative to the workspace)"
) -> Path:
    """`path` as a folder that can be listed; FileNotFoundError or ValueError with `remedy` otherwise."""
    folder = Path(path)
    # The absolute form shows against which folder a relative path was resolved.
    with reading(folder.absolute(), remedy):
        next(folder.iterdir(), None)
    return folder


def entries(folder: Path) -> list[Path]:
    """Files and folders in `folder` in the order of their names; hidden ones are left out."""
    with reading(folder):
        found = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return sorted(found, key=lambda entry: entry.name)


def subfolders(folder: Path) -> list[Path]:
    """Folders in `folder` in the order of their names; hidden ones are left out."""
    return [entry for entry in entries(folder) if entry.is_dir()]
