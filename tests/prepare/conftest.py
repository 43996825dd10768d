"""Small data sets that the readers' tests write themselves."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOBODY = 65534


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """`write_image(path, array)`, or a random image of `size` (height, width)."""

    def write(path: Path, array: np.ndarray | None = None, *, size: tuple[int, int] = (6, 8), seed: int = 0) -> Path:
        if array is None:
            array = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
        return path

    return write


@pytest.fixture
def cut() -> Callable[[Path], Path]:
    """Shorten a file to 60 % of its bytes, as a broken download does."""

    def shorten(path: Path) -> Path:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * 0.6)])
        return path

    return shorten


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="readers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def forbidden() -> Callable[[Path], object]:
    """`with forbidden(path):` nobody may read `path`; root becomes an ordinary user for that time."""

    @contextmanager
    def locked(path: Path) -> Iterator[None]:
        mode, user = path.stat().st_mode, os.geteuid()
        path.chmod(0)
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)
            path.chmod(mode)

    return locked
