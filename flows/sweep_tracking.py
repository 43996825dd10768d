"""A sweep in MLflow: one run with the table and the picture, below it one run for each variant, made for comparison.

Restored variants have one as well: what is compared is what was found, whenever it was computed. What was computed by
this sweep has, like every evaluation, a run of its own (`flows.tracking`) with the same tags `sweep` and `variant`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows import tracking
from flows.comparison import Comparison, Row
from flows.variants import CURRENT
from tasks.params import MAIN
from tasks.record import git_commit

KIND, TABLE, VARIANT = "kind", "sweep", "variant"  # the tag and its values


def log_sweep(comparison: Comparison, files: list[Path], warn: Callable[[str], None], flow_run: str = "") -> str | None:
    """Log a finished sweep, once for the same results; trouble with MLflow is a warning, never an error.

    Returns the address of the page that compares the variants, if MLflow is known to have pages.
    """
    tracking.quick_failure()
    try:
        with tracking.one_writer():
            experiment, runs = _log(tracking.client(), comparison, files, flow_run)
    except Exception as error:  # whatever a tracking server does, the table is on disk
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        warn(f"MLflow at {tracking.tracking_uri()} did not take the sweep ({said}); the same command again logs it")
        return None
    asked = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([experiment]))}"
    return f"{pages}/#/compare-runs?{asked}" if (pages := tracking.pages()) else None


def where(comparison: Comparison) -> str:
    """What to search for on MLflow's page."""
    return f"tags.{KIND} = '{VARIANT}' and tags.sweep = '{comparison.plan.id}'"


def _log(client: Any, comparison: Comparison, files: list[Path], flow_run: str) -> tuple[str, list[str]]:
    """Returns the ids of the experiment and of the variants' runs."""
    plan = comparison.plan
    found = {row.variant.name: [row.finished.errors, _metrics(comparison, row)] for row in comparison.rows}
    entry = f"{plan.id}-{sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]}"
    experiment = tracking.experiment_of(client, plan.method)
    earlier = client.search_runs([experiment], f"tags.`{tracking.ENTRY}` = '{entry}'")
    if any(run.data.tags[KIND] == TABLE and run.info.status == "FINISHED" for run in earlier):
        return experiment, [run.info.run_id for run in reversed(earlier) if run.data.tags[KIND] == VARIANT]
    for run in earlier:  # half logged, when its process died
        client.delete_run(run.info.run_id)
    tags = {tracking.ENTRY: entry, "sweep": plan.id, "profile": plan.profile, "git.commit": git_commit(),
            "prefect.flow_run": flow_run}  # fmt: skip
    best, keys = comparison.best(), [_name(plan.method, key) for key in plan.variants[0].values]
    chosen = {"best": best.variant.label} if best else {}
    parent = client.create_run(
        experiment, run_name=f"sweep {', '.join(keys)}", tags={**tags, KIND: TABLE, **chosen}
    ).info.run_id
    runs = [_log_variant(client, experiment, parent, comparison, row, tags) for row in comparison.rows]
    for path in files:
        client.log_artifact(parent, str(path))
    client.set_terminated(parent, "FINISHED")
    return experiment, runs


def _log_variant(
    client: Any, experiment: str, parent: str, comparison: Comparison, row: Row, tags: dict[str, str]
) -> str:
    from mlflow.entities import Metric, Param

    variant = row.variant
    own = {**tags, KIND: VARIANT, "variant": variant.tag(), "mlflow.parentRunId": parent}
    if row.finished.errors:
        own["error"] = "; ".join(row.finished.errors)[:500]
    name = variant.label + (" (current)" if variant.is_current else "")
    run_id = client.create_run(experiment, run_name=name, tags=own).info.run_id
    now = int(time.time() * 1000)
    params = [Param(_name(comparison.plan.method, k), str(v)[:500]) for k, v in variant.values.items()]
    metrics = [Metric(tracking.metric_name(k), v, now, 0) for k, v in _metrics(comparison, row).items()]
    client.log_batch(run_id, params=params, metrics=metrics)
    client.set_terminated(run_id, "FAILED" if row.finished.errors else "FINISHED")
    return run_id


def _metrics(comparison: Comparison, row: Row) -> dict[str, float]:
    """Means of arm `main`, and the difference of the sweep's metric to the current values."""
    if row.finished.errors:
        return {}
    plan, judged = comparison.plan, row.against_current
    result = json.loads((comparison.folder / row.variant.name / "results" / f"{plan.method}.json").read_text())
    parts = {f"{plan.metric}.over.{CURRENT}.{part}": judged[part] for part in ("difference", "low", "high")}
    return {**result[MAIN], **{name: value for name, value in parts.items() if value is not None}}


def _name(method: str, key: str) -> str:
    """A parameter's name as the runs of evaluations have it."""
    return tracking.metric_name(key.removeprefix(f"methods.{method}."))
