"""The folder `.unlabeled/`: what this workspace knows of itself, outside every output of DVC."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

STATE = Path(".unlabeled")
RUNS = STATE / "runs"  # <stage>@<name>.json: see `tasks.record.write_run`
OUTBOX = STATE / "outbox"  # evaluations that MLflow has not got yet


def read_run(stage: str, name: str) -> dict[str, Any] | None:
    """The last description written by `write_run`, or None if there is none that can be read."""
    try:
        return json.loads((RUNS / f"{stage}@{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)
