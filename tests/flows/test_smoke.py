"""Every method of params.yaml, smoke profile, by the command that users give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.params import METHOD_STAGES, read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This repository's files as they are now, without results and without a cache."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if (REPOSITORY / name).is_file() and not name.startswith("results/") and name != "dvc.lock":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PREFECT_", "UNLABELED_"))}
    environment |= {"PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / "prefect"), "DVC_NO_ANALYTICS": "1"}
    command = (str(Path(sys.executable).parent / command[0]), *command[1:])
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-5000:]
    return said


@pytest.mark.timeout(1500)  # some minutes on two cores, which other tests share
def test_all_methods_run_to_a_verdict(clone: Path) -> None:
    said = run(clone, "unlabeled", "run", "--all", "--profile", "smoke")
    methods = read_yaml(clone / "params.yaml")["methods"]
    for method in methods:
        for stage in METHOD_STAGES:
            assert f"{stage}@{method}" in said
        assert (clone / "results" / f"{method}.json").is_file()
    assert run(clone, "dvc", "status").strip() == "Data and pipelines are up to date."
