"""One stage of one method (or one data set, or one checkpoint): read, call the step per arm and seed, write.

The whole output folder of a stage is written beside its destination and renamed, so it is complete or absent.
True labels are taken out of the data set for every stage before `evaluate`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tasks.artifacts import Artifact, Dataset, Metrics, digest
from tasks.declaration import Call, Declaration, Method
from tasks.jobs import Job, Listener, Usage, run_jobs
from tasks.params import METHOD_STAGES, DeclarationError
from tasks.steps import INPUT_STAGE, NONE, STAGES, did_you_mean, find_step

ARTIFACTS = Path("artifacts")


@dataclass(frozen=True)
class Destination:
    """Where a stage writes, and the folder it fills first."""

    final: Path

    @property
    def partial(self) -> Path:
        return self.final.parent / f".{self.final.name}.partial"

    def publish(self) -> None:
        """Rename the filled folder into place; what was there before is removed only then."""
        old = self.final.parent / f".{self.final.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if self.final.exists():
            self.final.rename(old)
        self.partial.rename(self.final)
        shutil.rmtree(old, ignore_errors=True)


def dataset_folder(name: str) -> Path:
    return ARTIFACTS / "data" / name


def checkpoint_folder(name: str) -> Path:
    return ARTIFACTS / "checkpoint" / name


def stage_folder(method: str, stage: str) -> Path:
    return ARTIFACTS / method / stage


def arm_folder(method: str, stage: str, arm: str, seed: int) -> Path:
    return stage_folder(method, stage) / arm / f"seed-{seed}"


def run_stage(
    declaration: Declaration, stage: str, name: str, listener: Listener, finish: Callable[[Path], None] | None = None
) -> list[Usage]:
    """Run `stage` of `name` and replace its output folder. Returns what each job took.

    `finish(folder)` may add to the filled folder before it is renamed into place.
    """
    if stage in METHOD_STAGES:
        destination = Destination(stage_folder(name, stage))
        jobs = method_jobs(declaration.method(name), stage, destination.partial)
    elif stage == "prepare":
        destination = Destination(dataset_folder(name))
        jobs = [_job(_named(declaration.datasets, "data set", name), {}, None, destination.partial, name)]
    else:
        destination = Destination(checkpoint_folder(name))
        call = _named(declaration.checkpoints, "checkpoint", name)
        data = dataset_folder(declaration.checkpoint_data[name])
        jobs = [_job(call, {"dataset": data}, None, destination.partial, name)]
    shutil.rmtree(destination.partial, ignore_errors=True)
    destination.partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        memory = declaration.resources_of(stage, name).memory_gib
        usage = run_jobs(share_equal_jobs(jobs), execute, listener, memory)
        if finish is not None:
            finish(destination.partial)
        destination.publish()
    finally:
        shutil.rmtree(destination.partial, ignore_errors=True)
    return usage


def method_jobs(method: Method, stage: str, output: Path) -> list[Job]:
    """One job per arm and seed; an arm reads `main`'s artifacts above the stage where it branches off."""
    earlier = METHOD_STAGES[: METHOD_STAGES.index(stage)]
    jobs = []
    for arm, call in method.stages[stage].items():
        for seed in method.seeds:
            folders = {s: arm_folder(method.name, s, method.source_arm(s, arm), seed) for s in earlier}
            folders |= {"prepare": dataset_folder(method.data), "checkpoint": checkpoint_folder(method.checkpoint)}
            job = _job(call, {}, seed, output / arm / f"seed-{seed}", f"{arm} seed {seed}")
            inputs = {name: folders[INPUT_STAGE[name]] for name in call.resolve().inputs}
            curves = {s: folders[s] for s in earlier} if stage == "evaluate" else {}
            jobs.append(replace(job, inputs=inputs, curves=curves, figures=seed == method.seeds[0]))
    return jobs


def share_equal_jobs(jobs: list[Job]) -> list[Job]:
    """Merge jobs that must give the same result: same step, parameters, input contents, and seed if it is used."""
    merged: dict[str, Job] = {}
    for job in jobs:
        contents = {name: digest(folder) for name, folder in sorted(job.inputs.items())}
        curves = {name: digest(folder) for name, folder in sorted(job.curves.items())}
        seed = job.seed if find_step(job.stage, job.step).takes_seed else None
        draws = job.figures and find_step(job.stage, job.step).draws
        key = json.dumps([job.step, job.parameters, contents, curves, seed, draws], sort_keys=True, default=str)
        if key in merged:
            job = replace(merged[key], targets=merged[key].targets + job.targets)
        merged[key] = job
    return list(merged.values())


def execute(job: Job) -> None:
    """Body of a job, in its worker process: load the inputs, run the step, save the result."""
    step = find_step(job.stage, job.step)
    inputs: dict[str, Artifact] = {}
    for name, folder in job.inputs.items():
        artifact = STAGES[INPUT_STAGE[name]].load(folder)
        if isinstance(artifact, Dataset) and job.stage != "evaluate":
            artifact = artifact.without_truth()
        inputs[name] = artifact
    result = step.run(inputs, job.parameters, job.seed, job.figures)
    if isinstance(result, Metrics):
        check_metrics(step.metrics, result)
        result.tables["curves"] = with_training_curves(result, job.curves)
    first, *others = job.targets
    result.save(first)
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(first, other, copy_function=os.link)


def check_metrics(declared: dict[str, str], metrics: Metrics) -> None:
    """Raise `ValueError` unless every value is a finite float of a metric that the step declares."""
    for name, value in metrics.values.items():
        if name not in declared:
            raise ValueError(f"metric '{name}' is not in METRICS{did_you_mean(name, declared)}")
        if not isinstance(value, float) or value != value or abs(value) == float("inf"):
            raise ValueError(f"metric '{name}' must be a finite float, got {value!r}")


def with_training_curves(metrics: Metrics, folders: dict[str, Path]) -> pd.DataFrame:
    """The curves of an evaluation, and those of the stages before it named `<stage>/<curve>`."""
    tables = [metrics.tables["curves"]] if "curves" in metrics.tables else []
    for stage, folder in folders.items():
        table = STAGES[stage].load(folder).tables.get("curves")
        if table is not None:
            tables.append(table.assign(curve=stage + "/" + table["curve"]))
    empty = pd.DataFrame({"curve": pd.Series(dtype="str"), "x": pd.Series(dtype=float), "y": pd.Series(dtype=float)})
    return pd.concat(tables, ignore_index=True) if tables else empty


def _job(call: Call, inputs: dict[str, Path], seed: int | None, target: Path, label: str) -> Job:
    wanted = {} if call.step == NONE else {n: f for n, f in inputs.items() if n in call.resolve().inputs}
    return Job(call.stage, call.step, call.parameters, wanted, seed, (target,), label)


def _named(calls: dict[str, Call], what: str, name: str) -> Call:
    if name not in calls:
        raise DeclarationError([f"unknown {what} '{name}'{did_you_mean(name, calls)}"])
    return calls[name]
