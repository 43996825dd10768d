"""MLflow: one experiment per method, one parent run per evaluation, one nested run per arm and seed.

Evaluations wait in the outbox (`tasks.record`) until they are logged, so nothing is lost while a server is
away. One process logs them, under a lock. Every run carries `unlabeled.entry`; a run found FINISHED with it
is not logged again, one that is not finished is deleted and logged anew: exactly once, whenever it dies.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tasks.artifacts import Metrics, digest
from tasks.claims import CONFIDENCE
from tasks.params import MAIN
from tasks.run import arm_folder, dataset_folder
from tasks.state import OUTBOX, STATE

T = TypeVar("T")
ENTRY = "unlabeled.entry"
STORE = STATE / "mlflow.db"
ARTIFACTS = STATE / "mlartifacts"
TIMEOUT_SECONDS = "10"
TAGS = "UNLABELED_TAGS"  # JSON object: more tags for every run that this process logs
PAGES = "UNLABELED_MLFLOW_PAGES"  # where the store has pages, if its own address is none: set by `unlabeled serve`
LOCK = STATE / "tracking.lock"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a SQLite file in the workspace."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE.resolve()}"


def pages() -> str | None:
    """Address of MLflow's pages, if they are known to be there."""
    uri = tracking_uri()
    return uri.rstrip("/") if uri.startswith("http") else os.environ.get(PAGES)


def waiting() -> list[Path]:
    """Evaluations that MLflow does not have yet, oldest first."""
    return sorted(p for p in OUTBOX.glob("*") if p.is_dir() and not p.name.startswith("."))


def prepare(*methods: str) -> None:
    """Create MLflow's store, some seconds on the first day, while the first stages run, and the `methods`' experiments.

    Trouble is left to `sync`.
    """
    with one_writer(), suppress(Exception):
        quick_failure()
        connection = client()
        connection.search_experiments(max_results=1)
        for method in methods:
            experiment_of(connection, method)


def quick_failure() -> None:
    """A dead server must not hold up the work: MLflow's own default is seven retries of two minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT_SECONDS)


def sync(warn: Callable[[str], None]) -> int:
    """Log all waiting evaluations; returns how many. Trouble with MLflow is a warning, never an error."""
    entries = waiting()
    if not entries:
        return 0
    quick_failure()
    logged = 0
    with one_writer():
        try:
            connection = client()
            for entry in entries:
                if not entry.is_dir():
                    continue  # another process has logged it
                try:
                    facts = json.loads((entry / "entry.json").read_text())
                    result = json.loads((entry / f"{facts['method']}.json").read_text())
                except (OSError, ValueError, KeyError) as error:
                    warn(f"{entry} is damaged ({error}) and was not logged; delete it")
                    continue
                _log_entry(connection, entry, facts, result)
                shutil.rmtree(entry)
                logged += 1
        except Exception as error:  # whatever a tracking server does, results on disk are complete
            warn(
                f"MLflow at {tracking_uri()} did not take the results ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
                f"{len(waiting())} evaluation(s) wait in {OUTBOX}: run 'unlabeled sync' when it is back"
            )
    return logged


def runs_of(flow_run: str) -> list[str]:
    """Markdown links to the MLflow runs of one Prefect flow run; names and ids where MLflow is not known to have pages."""
    waits = "some results wait for MLflow: run 'unlabeled sync' when it is back"
    try:
        connection, uri = client(), tracking_uri().rstrip("/")
        experiments = [experiment.experiment_id for experiment in connection.search_experiments()]
        wanted = f"tags.`prefect.flow_run` = '{flow_run}' and tags.`unlabeled.parent` = 'yes'"
        found = connection.search_runs(experiments, wanted)
    except Exception:  # `sync` has said what is wrong with it
        return [waits]
    at = pages()
    links = [
        f"[{run.info.run_name}]({at}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"
        if at
        else f"{run.info.run_name}: run {run.info.run_id} in {uri}"
        for run in found
    ]
    return sorted(links) + ([waits] if waiting() else [])


@contextmanager
def one_writer() -> Iterator[None]:
    STATE.mkdir(exist_ok=True)
    with open(LOCK, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def client() -> Any:
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # A server's address is otherwise printed once for every arm and seed.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Not set_tracking_uri: it sets MLFLOW_TRACKING_URI, and we could no longer tell whether the user has.
    return mlflow.MlflowClient(tracking_uri())


def experiment_of(client: Any, method: str) -> str:
    def find_or_create() -> str:
        experiment = client.get_experiment_by_name(method)
        if experiment is not None:
            return experiment.experiment_id
        location = None if os.environ.get("MLFLOW_TRACKING_URI") else (ARTIFACTS / method).resolve().as_uri()
        # Without this tag the web page shows language-model traces first, and no runs.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(method, artifact_location=location, tags=tags)

    return _twice(find_or_create)


def _twice(attempt: Callable[[], T]) -> T:
    """Try again where MLflow creates what is not there yet: another workspace may have been faster by a moment."""
    from mlflow.exceptions import MlflowException

    try:
        return attempt()
    except MlflowException:
        return attempt()


def _log_entry(client: Any, entry: Path, facts: dict[str, Any], result: dict[str, Any]) -> None:
    """Log one evaluation: parent run, nested runs, metrics, curves, figures, data set, models."""
    method = facts["method"]
    experiment = experiment_of(client, method)
    earlier = client.search_runs([experiment], f"tags.`{ENTRY}` = '{entry.name}'")
    if any(run.data.tags.get("unlabeled.parent") == "yes" and run.info.status == "FINISHED" for run in earlier):
        return
    for run in earlier:
        client.delete_run(run.info.run_id)
    tags = {
        ENTRY: entry.name,
        "git.commit": facts["commit"],
        "profile": result["profile"],
        "data": result["data"],
        "host": facts["host"],
        "prefect.flow_run": facts["runs"].get(f"evaluate@{method}", {}).get("prefect_flow_run", ""),
        **{f"library.{name}": version for name, version in facts["libraries"].items()},
        **{f"seconds.{stage.split('@')[0]}": f"{run['seconds']:.2f}" for stage, run in facts["runs"].items()},
        **json.loads(os.environ.get(TAGS) or "{}"),
    }
    headline = next(iter(result["claims"].items()), None)
    verdict = {"verdict": headline[1]["verdict"], "claim": headline[0]} if headline else {}
    name = f"{method} {result['profile']}" + (f": {verdict['verdict']}" if verdict else "")
    parent = client.create_run(experiment, run_name=name, tags={**tags, **verdict, "unlabeled.parent": "yes"})
    parent_id = parent.info.run_id
    for arm in facts["parameters"]:
        for seed in facts["seeds"]:
            _log_arm(client, experiment, parent_id, entry, facts, arm, seed, tags)
    _log_summary(client, parent_id, entry, facts, result)
    client.set_terminated(parent_id, "FINISHED")


def _log_summary(client: Any, run_id: str, entry: Path, facts: dict[str, Any], result: dict[str, Any]) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(key, str(facts[key])) for key in ("data", "checkpoint", "seeds")]
    now, metrics = int(time.time() * 1000), []
    for name, claim in result["claims"].items():
        key = metric_name(name.replace(" > ", ".over."))
        for part in ("difference", "low", "high"):
            if claim[part] is not None:
                metrics.append(Metric(f"{key}.{part}", claim[part], now, 0))
        params.append(Param(f"claim.{key}", f"{claim['verdict']} at {CONFIDENCE:.0%}, {claim['wins']} wins"))
    metrics += [Metric(metric_name(metric), mean, now, 0) for metric, mean in result[MAIN].items()]
    client.log_batch(run_id, metrics=metrics, params=params)
    for suffix in ("json", "csv"):
        client.log_artifact(run_id, str(entry / f"{facts['method']}.{suffix}"))
    client.log_artifact(run_id, str(entry / "params.yaml"))
    client.log_artifacts(run_id, str(entry / "evaluate" / "summary" / "figures"), "figures")


def _log_arm(
    client: Any,
    experiment: str,
    parent: str,
    entry: Path,
    facts: dict[str, Any],
    arm: str,
    seed: int,
    tags: dict[str, str],
) -> None:
    from mlflow.entities import Metric, Param

    own = {**tags, "mlflow.parentRunId": parent, "arm": arm, "seed": str(seed)}
    run_id = client.create_run(experiment, run_name=f"{arm} seed {seed}", tags=own).info.run_id
    params = {"arm": arm, "seed": str(seed), "data": facts["data"], **facts["parameters"][arm]}
    folder = entry / "evaluate" / arm / f"seed-{seed}"
    evaluation = Metrics.load(folder)
    metrics = [Metric(metric_name(k), v, int(time.time() * 1000), 0) for k, v in evaluation.values.items()]
    curves = evaluation.tables["curves"]
    for curve, x, y in zip(curves["curve"], curves["x"], curves["y"], strict=True):
        metrics.append(Metric(metric_name(f"curve.{curve}"), y, int(time.time() * 1000), round(x)))
    client.log_batch(run_id, params=[Param(k, v[:500]) for k, v in params.items()][:100])
    for start in range(0, len(metrics), 1000):  # the REST limit of one batch
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    if (folder / "figures").is_dir():
        client.log_artifacts(run_id, str(folder / "figures"), "figures")
    _log_data(client, run_id, facts)
    if arm == MAIN and seed == facts["seeds"][0]:
        _log_model(client, run_id, facts, seed)
    client.set_terminated(run_id, "FINISHED")


def _log_data(client: Any, run_id: str, facts: dict[str, Any]) -> None:
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag

    source = json.dumps({"path": dataset_folder(facts["data"]).as_posix()})
    described = MlflowDataset(facts["data"], facts["digests"]["data"][:8], "local", source)
    inputs = [DatasetInput(described, [InputTag("mlflow.data.context", "training")])]
    _twice(lambda: client.log_inputs(run_id, datasets=inputs))


def _log_model(client: Any, run_id: str, facts: dict[str, Any], seed: int) -> None:
    """The trained model, loadable with `mlflow.pyfunc.load_model("runs:/<run id>/model")`.

    Left out when a later run has replaced it in the workspace before this evaluation could be logged.
    """
    from flows.serving import save_pyfunc  # imports torch and mlflow, which a run with nothing to do can spare

    folder = arm_folder(facts["method"], "self_train", MAIN, seed)
    if not folder.is_dir() or digest(folder) != facts["digests"]["model"]:
        return
    with tempfile.TemporaryDirectory() as temporary:
        if save_pyfunc(folder, Path(temporary) / "model"):
            client.log_artifacts(run_id, str(Path(temporary) / "model"), "model")


def metric_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
