"""What really ran, kept outside every output in `.unlabeled/`: durations, host, versions, results to be logged.

`runs/<stage>@<name>.json` describes the last time a stage computed something. `outbox/<id>/` holds the
complete results of one evaluation until MLflow has them. A stage restored from a cache leaves neither.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.artifacts import digest
from tasks.declaration import Method
from tasks.jobs import Usage
from tasks.params import MAIN
from tasks.run import arm_folder, dataset_folder
from tasks.state import OUTBOX, RUNS, write_json

LIBRARIES = ("torch", "numpy", "scikit-learn", "faiss-cpu", "transformers", "dvc", "prefect", "mlflow")


def write_run(stage: str, name: str, started: float, seconds: float, usage: list[Usage]) -> None:
    """Describe a finished stage."""
    RUNS.mkdir(parents=True, exist_ok=True)
    content = {
        "stage": stage,
        "name": name,
        "started": started,
        "seconds": seconds,
        "step_seconds": sum(u.seconds for u in usage),
        "peak_mib": max((u.peak_mib for u in usage), default=0.0),
        "jobs": {u.label: u.seconds for u in usage},
        "host": platform.node(),
        "prefect_flow_run": os.environ.get("UNLABELED_FLOW_RUN", ""),
    }
    write_json(RUNS / f"{stage}@{name}.json", content)


def post(method: Method, evaluation: Path, results: list[Path]) -> Path:
    """Put a copy of an evaluation into the outbox, to be logged by whoever drives; returns its folder.

    The entry explains itself: nothing of it is looked up later in a workspace that may have moved on.
    """
    entry = OUTBOX / f"{int(time.time())}-{uuid.uuid4().hex[:12]}"
    partial = OUTBOX / f".{entry.name}"
    shutil.copytree(evaluation, partial / "evaluate")
    for path in results:
        shutil.copy2(path, partial / path.name)
    shutil.copy2("params.yaml", partial / "params.yaml")
    runs = {p.stem: json.loads(p.read_text()) for p in sorted(RUNS.glob(f"*@{method.name}.json"))}
    facts = {
        "method": method.name,
        "data": method.data,
        "checkpoint": method.checkpoint,
        "seeds": method.seeds,
        "parameters": {arm: flat_parameters(method, arm) for arm in method.arms()},
        "digests": {
            "data": digest(dataset_folder(method.data)),
            "model": digest(arm_folder(method.name, "self_train", MAIN, method.seeds[0])),
        },
        "runs": runs,
        "commit": git_commit(),
        **environment(),
    }
    write_json(partial / "entry.json", facts)
    partial.rename(entry)
    return entry


def flat_parameters(method: Method, arm: str) -> dict[str, str]:
    """Everything in force for an arm as `stage.parameter.key: value`."""
    flat: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}", inner)
        else:
            flat[prefix] = str(value)

    for stage, calls in method.stages.items():
        call = calls[method.source_arm(stage, arm)]
        add(stage, {"step": call.step, **call.parameters})
    return flat


def environment() -> dict[str, Any]:
    """Host, Python and the libraries that numbers depend on."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def git_commit() -> str:
    """The commit checked out, with `+changes` if tracked files differ from it; '' outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+changes" if changes.returncode else "")
