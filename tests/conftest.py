"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch and faiss are imported: tests compute on one thread, as every job of the runner does.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data sets: $UNLABELED_TEST_DATA, else `shared/data` beside the repository; else skip."""
    folder = Path(os.environ.get("UNLABELED_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set UNLABELED_TEST_DATA")
    return folder
