"""What must hold for every declared method: no true label reaches a stage before `evaluate`; every profile is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset, file_sha256
from tasks.declaration import Declaration, validate
from tasks.params import METHOD_STAGES, PROFILES, read_yaml
from tasks.run import checkpoint_folder, dataset_folder, run_stage, stage_folder

REPOSITORY = Path(__file__).resolve().parents[1]
CONTENT = read_yaml(REPOSITORY / "params.yaml")
BEFORE_EVALUATE = METHOD_STAGES[:-1]


def quiet(label: str, report: object) -> None:
    """A listener that says nothing."""


def smoke(method: str) -> Declaration:
    return validate({**CONTENT, "profile": "smoke"}, only=[method])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_sound(profile: str) -> None:
    assert validate({**CONTENT, "profile": profile}).methods


def permute_truth(folder: Path) -> int:
    """Permute every label and truth array that the setting does not grant; returns how many values moved."""
    dataset = Dataset.load(folder)
    rng, moved = np.random.default_rng(1), 0
    samples = dataset.samples.copy()
    if "label" in samples:
        hidden = samples["given_label"].isna() if "given_label" in samples else pd.Series(True, index=samples.index)
        before = samples.loc[hidden, "label"].to_numpy(copy=True)  # a view would move along
        samples.loc[hidden, "label"] = rng.permutation(before)
        moved += int((samples.loc[hidden, "label"].to_numpy() != before).sum())
    arrays, tables = dict(dataset.arrays), {**dataset.tables, "samples": samples}
    for name in dataset.meta["truth"]:
        if name in arrays:
            arrays[name] = rng.permutation(arrays[name])
            moved += int((arrays[name] != dataset.arrays[name]).sum())
        else:
            told = tables[name].drop(columns=["sample", "label"], errors="ignore")  # the keys stay
            permuted = told.iloc[rng.permutation(len(told))].set_axis(told.index)
            tables[name] = tables[name].assign(**{str(column): permuted[column] for column in told})
            moved += int((tables[name][told.columns] != told).to_numpy().sum())
    Dataset(tables, arrays, meta=dataset.meta).save(folder)
    return moved


def run_before_evaluate(declaration: Declaration, method: str) -> dict[str, str]:
    """Hash of every file that the checkpoint and the stages before `evaluate` write."""
    checkpoint = declaration.methods[method].checkpoint
    run_stage(declaration, "checkpoint", checkpoint, quiet)
    for stage in BEFORE_EVALUATE:
        run_stage(declaration, stage, method, quiet)
    folders = [checkpoint_folder(checkpoint), *(stage_folder(method, stage) for stage in BEFORE_EVALUATE)]
    return {str(p): file_sha256(p) for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("method", CONTENT["methods"])
def test_true_labels_do_not_leak(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    declaration = smoke(method)
    for name in declaration.datasets:
        run_stage(declaration, "prepare", name, quiet)
    before = run_before_evaluate(declaration, method)
    moved = sum(permute_truth(dataset_folder(n)) for n, c in declaration.datasets.items() if c.step != "none")
    assert moved > 0
    assert run_before_evaluate(declaration, method) == before


@pytest.mark.parametrize("method", CONTENT["methods"])
def test_evaluation_sees_the_truth(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart: with permuted truth the metrics must differ, else the test above could not fail."""
    monkeypatch.chdir(tmp_path)
    declaration = smoke(method)
    for name in declaration.datasets:
        run_stage(declaration, "prepare", name, quiet)
    run_before_evaluate(declaration, method)
    metrics = []
    for _ in range(2):
        run_stage(declaration, "evaluate", method, quiet)
        folder = stage_folder(method, "evaluate")
        metrics.append([p.read_text() for p in sorted(folder.rglob("artifact.json"))])
        permute_truth(dataset_folder(declaration.methods[method].data))
    assert metrics[0] != metrics[1]
