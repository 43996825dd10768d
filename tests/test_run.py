"""The runner: who reads what, what is computed once, what truth may be seen, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks import run
from tasks.artifacts import Dataset, Metrics, Model, PseudoLabels, digest
from tasks.declaration import Declaration, validate
from tasks.jobs import Job, Progress
from tasks.params import METHOD_STAGES
from tasks.run import check_metrics, execute, method_jobs, run_stage, share_equal_jobs, with_training_curves

REPOSITORY = Path(__file__).resolve().parents[1]
EARLY = METHOD_STAGES[:-1]
Add = Callable[[str, str, str], None]
HEAD = "import numpy as np, pandas as pd\nfrom tasks.artifacts import *\nfrom tasks.artifacts import Dataset, Model, Metrics\n"


def quiet(label: str, report: Progress) -> None:
    """Nobody listens."""


@pytest.fixture
def declared(
    toy_steps: Add, toy_params: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Declaration]:
    """The toy's declaration, changed by a function, in an empty folder with two cores."""
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")

    def declare(change: Callable[[dict], object] = lambda toy: None) -> Declaration:
        toy_params["seeds"] = [0, 1]
        change(toy_params["methods"]["toy"])
        return validate(toy_params)

    return declare


def prepare(declaration: Declaration) -> None:
    run_stage(declaration, "prepare", "blobs", quiet)
    run_stage(declaration, "checkpoint", "scale", quiet)


def run_until(declaration: Declaration, last: str, method: str = "toy") -> None:
    for stage in METHOD_STAGES[: METHOD_STAGES.index(last) + 1]:
        run_stage(declaration, stage, method, quiet)


def contents(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


# ---- who reads what -------------------------------------------------------------------------------------------


def test_arms_read_main_above_their_branch(declared) -> None:
    declaration = declared()
    method = declaration.methods["toy"]
    read = {
        (stage, job.targets[0].parts[-2], job.seed): job.inputs
        for stage in METHOD_STAGES
        for job in method_jobs(method, stage, Path("out"))
    }
    base = Path("artifacts/toy")
    assert read["cluster", "jittered", 1] == {"representation": base / "pretrain/main/seed-1"}
    assert read["pseudo_label", "jittered", 1] == {"clusters": base / "cluster/jittered/seed-1"}
    assert read["self_train", "flipped", 0]["pseudo_labels"] == base / "pseudo_label/main/seed-0"
    assert read["self_train", "jittered", 0]["pseudo_labels"] == base / "pseudo_label/jittered/seed-0"
    assert read["self_train", "main", 0]["pseudo_labels"] == base / "pseudo_label/main/seed-0"
    assert read["evaluate", "flipped", 1]["model"] == base / "self_train/flipped/seed-1"
    assert read["evaluate", "flipped", 1]["dataset"] == Path("artifacts/data/blobs")
    assert ("cluster", "flipped", 0) not in read
    assert read["pretrain", "main", 0]["checkpoint"] == Path("artifacts/checkpoint/scale")


def test_evaluation_repeats_the_curves_of_exactly_its_own_arm(declared) -> None:
    jobs = method_jobs(declared().methods["toy"], "evaluate", Path("out"))
    flipped = next(job for job in jobs if job.targets == (Path("out/flipped/seed-1"),))
    assert flipped.curves["pseudo_label"] == Path("artifacts/toy/pseudo_label/main/seed-1")
    assert flipped.curves["self_train"] == Path("artifacts/toy/self_train/flipped/seed-1")


def test_whole_toy(declared) -> None:
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "evaluate")
    folder = Path("artifacts/toy/evaluate")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*")) == [
        f"{arm}/seed-{seed}" for arm in ("flipped", "jittered", "main") for seed in (0, 1)
    ]
    main = Metrics.load(folder / "main/seed-0")
    assert main.values == {"accuracy": 1.0}
    assert Metrics.load(folder / "flipped/seed-0").values["accuracy"] < 1.0
    curves = main.tables["curves"]
    assert list(curves["curve"].unique()) == ["self_train/loss"]
    assert curves["y"].tolist() == [1.0, 0.5, 0.25]
    assert not list(Path("artifacts").rglob(".*"))


def test_evaluation_keeps_its_own_curves_beside_those_of_training(tmp_path: Path) -> None:
    from tasks.curves import curve_table

    own = Metrics(meta={"values": {}}, tables={"curves": curve_table("recall_by_size", [1, 2], [0.1, 0.2])})
    Model({"curves": curve_table("loss", [1], [9.0])}).save(tmp_path / "model")
    PseudoLabels().save(tmp_path / "labels")
    table = with_training_curves(own, {"pseudo_label": tmp_path / "labels", "self_train": tmp_path / "model"})
    assert list(table["curve"]) == ["recall_by_size", "recall_by_size", "self_train/loss"]
    empty = with_training_curves(Metrics(meta={"values": {}}), {})
    assert list(empty) == ["curve", "x", "y"]
    Metrics(meta={"values": {}}, tables={"curves": empty}).save(tmp_path / "empty")


# ---- computed once --------------------------------------------------------------------------------------------


def test_seedless_step_is_computed_once_and_given_to_every_seed(declared) -> None:
    declaration = declared()
    prepare(declaration)
    usage = run_stage(declaration, "pretrain", "toy", quiet)
    assert len(usage) == 1
    folders = [Path(f"artifacts/toy/pretrain/main/seed-{seed}") for seed in (0, 1)]
    assert contents(folders[0]) == contents(folders[1])
    assert contents(folders[0]).keys() >= {"artifact.json", "arrays/embedding.npy", "tables/units.parquet"}


def test_arm_that_changes_nothing_is_computed_once(declared) -> None:
    def same(toy: dict) -> None:
        toy["cluster"]["arms"] = {"jittered": {"jitter": 0.0}, "again": {"k": 2}}
        toy["cluster"]["jitter"] = 0.0

    declaration = declared(same)
    prepare(declaration)
    run_stage(declaration, "pretrain", "toy", quiet)
    usage = run_stage(declaration, "cluster", "toy", quiet)
    assert len(usage) == 2  # one for each seed
    folder = Path("artifacts/toy/cluster")
    assert contents(folder / "main/seed-0") == contents(folder / "jittered/seed-0") == contents(folder / "again/seed-0")
    # pseudo_label takes no seed, and without jitter the clusters of both seeds are equal
    assert len(run_stage(declaration, "pseudo_label", "toy", quiet)) == 1


def test_what_differs_is_not_shared(declared) -> None:
    declaration = declared()
    prepare(declaration)
    run_stage(declaration, "pretrain", "toy", quiet)
    jobs = method_jobs(declaration.methods["toy"], "cluster", Path("out"))
    assert len(share_equal_jobs(jobs)) == len(jobs) == 4
    run_stage(declaration, "cluster", "toy", quiet)
    jittered = [digest(Path(f"artifacts/toy/cluster/jittered/seed-{seed}")) for seed in (0, 1)]
    assert jittered[0] != jittered[1]


def test_shared_folders_do_not_change_together(declared) -> None:
    """Copies share their bytes on disk until one of them is replaced; the other must then keep its own."""
    declaration = declared()
    prepare(declaration)
    run_stage(declaration, "pretrain", "toy", quiet)
    one, other = (Path(f"artifacts/toy/pretrain/main/seed-{seed}") for seed in (0, 1))
    before = contents(other)
    run.STAGES["pretrain"].load(one).save(one)
    assert contents(other) == before


# ---- truth ----------------------------------------------------------------------------------------------------


def permute_truth(name: str) -> None:
    """Shuffle `label` and everything in meta['truth']; keep given_label."""
    folder = Path("artifacts/data") / name
    full = Dataset.load(folder)
    rng = np.random.default_rng(7)
    order = rng.permutation(len(full.samples))
    assert "label" in full.samples or full.meta.get("truth")
    if "label" in full.samples:
        full.tables["samples"]["label"] = full.samples["label"].to_numpy()[order]
    for truth in full.meta.get("truth", ()):
        if truth in full.arrays:
            full.arrays[truth] = rng.permutation(np.array(full.arrays[truth]))
        else:
            full.tables[truth] = full.tables[truth].iloc[::-1].reset_index(drop=True)
    before = digest(folder)
    full.save(folder)
    assert digest(folder) != before


def test_permuted_truth_changes_nothing_before_evaluate(declared) -> None:
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "evaluate")
    before = {stage: contents(Path("artifacts/toy") / stage) for stage in METHOD_STAGES}
    checkpoint = contents(Path("artifacts/checkpoint"))
    permute_truth("blobs")
    run_stage(declaration, "checkpoint", "scale", quiet)
    assert contents(Path("artifacts/checkpoint")) == checkpoint
    run_until(declaration, "evaluate")
    for stage in EARLY:
        assert contents(Path("artifacts/toy") / stage) == before[stage], stage
    # The test can fail: evaluation does see the truth.
    assert contents(Path("artifacts/toy/evaluate")) != before["evaluate"]


LEAKS = {
    "label": "dataset.samples['label']",
    "truth array": "dataset.arrays['secret']",
    "name of the truth": "dataset.meta['truth']",
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("stage", ["checkpoint", *EARLY])
def test_no_stage_before_evaluate_is_given_the_truth(
    declared, toy_steps: Add, leak: str, stage: str, tmp_path: Path
) -> None:
    kind = run.STAGES[stage].__name__
    toy_steps(stage, "spy", f"{HEAD}\ndef spy(dataset: Dataset) -> {kind}:\n    {LEAKS[leak]}\n    return {kind}()\n")
    run_stage(declared(), "prepare", "blobs", quiet)
    job = Job(stage, "spy", {}, {"dataset": Path("artifacts/data/blobs")}, 0, (tmp_path / "out",), "spy")
    with pytest.raises(KeyError):
        execute(job)


def test_evaluate_is_given_the_truth(declared, toy_steps: Add, tmp_path: Path) -> None:
    source = (
        f"{HEAD}\nMETRICS = {{'ones': 'how many'}}\n"
        "def spy(dataset: Dataset) -> Metrics:\n"
        "    ones = float(dataset.samples['label'].sum() + dataset.arrays['secret'].sum())\n"
        "    return Metrics(meta={'values': {'ones': ones}})\n"
    )
    toy_steps("evaluate", "spy", source)
    run_stage(declared(), "prepare", "blobs", quiet)
    execute(Job("evaluate", "spy", {}, {"dataset": Path("artifacts/data/blobs")}, None, (tmp_path / "out",), "spy"))
    assert Metrics.load(tmp_path / "out").values == {"ones": 40.0}


# ---- metrics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"acuracy": 0.5}, "metric 'acuracy' is not in METRICS; did you mean 'accuracy'?"),
        ({"accuracy": float("nan")}, "metric 'accuracy' must be a finite float, got nan"),
        ({"accuracy": float("inf")}, "metric 'accuracy' must be a finite float, got inf"),
        ({"accuracy": float("-inf")}, "metric 'accuracy' must be a finite float, got -inf"),
        ({"accuracy": 1}, "metric 'accuracy' must be a finite float, got 1"),
        ({"accuracy": None}, "metric 'accuracy' must be a finite float, got None"),
        ({"accuracy": np.float32(0.5)}, "metric 'accuracy' must be a finite float"),
    ],
)
def test_metrics_that_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match="metric") as caught:
        check_metrics({"accuracy": "share"}, Metrics(meta={"values": values}))
    assert message in str(caught.value)


def test_undeclared_metric_fails_the_stage(declared, toy_steps: Add) -> None:
    source = (
        f"{HEAD}\nMETRICS = {{'accuracy': 'share'}}\n"
        "def undeclared(dataset: Dataset) -> Metrics:\n    return Metrics(meta={'values': {'other': 1.0}})\n"
    )
    toy_steps("evaluate", "undeclared", source)
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "self_train")
    changed = declared(lambda toy: toy["evaluate"].update(step="undeclared"))
    with pytest.raises(ValueError, match="metric 'other' is not in METRICS"):
        run_stage(changed, "evaluate", "toy", quiet)
    assert not Path("artifacts/toy/evaluate").exists()


# ---- failures -------------------------------------------------------------------------------------------------


def test_failing_step_leaves_the_old_folder(declared) -> None:
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "self_train")
    before = contents(Path("artifacts"))
    failing = declared(lambda toy: toy["self_train"].update(fail=True))
    with pytest.raises(FloatingPointError, match="loss is nan at step 3"):
        run_stage(failing, "self_train", "toy", quiet)
    assert contents(Path("artifacts")) == before
    assert not list(Path("artifacts").rglob(".*"))


def test_failure_at_the_finish_leaves_the_old_folder(declared) -> None:
    declaration = declared()
    prepare(declaration)
    before = contents(Path("artifacts"))

    def full(folder: Path) -> None:
        assert (folder / "artifact.json").is_file()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_stage(declaration, "prepare", "blobs", quiet, full)
    assert contents(Path("artifacts")) == before


def test_stage_is_replaced_as_a_whole(declared) -> None:
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "cluster")
    fewer = declared(
        lambda toy: (toy["cluster"].update(arms={"jittered": {"jitter": 1.0}}), toy.update(seeds={"at_most": 1}))
    )
    run_stage(fewer, "cluster", "toy", quiet)
    folder = Path("artifacts/toy/cluster")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*")) == ["jittered/seed-0", "main/seed-0"]


def test_damaged_input_is_named(declared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLABELED_JOBS", "1")  # the seeds share the file: side by side, either may meet it first
    declaration = declared()
    prepare(declaration)
    run_until(declaration, "pretrain")
    path = Path("artifacts/toy/pretrain/main/seed-0/arrays/embedding.npy")
    os.truncate(path, 100)
    with pytest.raises(ValueError, match=f"{path}: 100 bytes, expected"):
        run_stage(declaration, "cluster", "toy", quiet)


def test_absent_input_is_named(declared) -> None:
    with pytest.raises(ValueError, match=r"artifacts/[a-z/]+: no artifact here; run the stage that makes it"):
        run_stage(declared(), "pretrain", "toy", quiet)


# ---- the command behind every DVC stage -----------------------------------------------------------------------


def test_command_and_its_exit_codes(toy_workspace) -> None:
    """0 done, 2 bad input, 1 failed run; one line on standard error, no traceback."""
    assert toy_workspace.tasks("prepare", "blobs").returncode == 0
    assert toy_workspace.tasks("checkpoint", "scale").returncode == 0
    for arguments, code, message in [
        (("pretrain", "tpy"), 2, "error: params.yaml: methods: no 'tpy'; did you mean 'toy'?\n"),
        (("pretain", "toy"), 2, "error: unknown stage 'pretain'; did you mean 'pretrain'?\n"),
        (("cluster", "toy"), 1, "error: cluster@toy: artifacts/toy/pretrain/main/seed-0: no artifact here; run the stage that makes it\n"),
        (("pretrain",), 2, "usage: python -m tasks STAGE NAME, or python -m tasks fingerprint\n"),
    ]:  # fmt: skip
        result = toy_workspace.tasks(*arguments)
        assert (result.returncode, result.stderr) == (code, message)
        assert result.stdout == ""


def test_bad_input_names_its_entry_in_params(toy_workspace) -> None:
    for arguments in (("prepare", "blobs"), ("checkpoint", "scale"), ("pretrain", "toy")):
        assert toy_workspace.tasks(*arguments).returncode == 0
    path = "data/none.npz"
    toy_workspace.declare(lambda content: content["datasets"].update(blobs={"step": "npz", "path": path}))
    toy_workspace.edit("tasks/cluster/toy_halves.py", "    x = ", "    raise ValueError('k: too many')\n    x = ")
    absent, refused = toy_workspace.tasks("prepare", "blobs"), toy_workspace.tasks("cluster", "toy")
    assert (absent.returncode, refused.returncode) == (2, 2)
    assert absent.stderr.startswith("error: prepare@blobs (params.yaml: datasets.blobs): path: ")
    assert "none.npz does not exist; " in absent.stderr
    assert refused.stderr == "error: cluster@toy (params.yaml: methods.toy.cluster): k: too many\n"


def test_timeout_ends_the_worker_processes(toy_workspace, wait_until) -> None:
    for stage, name in (("prepare", "blobs"), ("checkpoint", "scale"), *((s, "toy") for s in EARLY[:-1])):
        assert toy_workspace.tasks(stage, name).returncode == 0

    def slow(content: dict) -> None:
        content["resources"] = {"self_train@toy": {"timeout_minutes": 0.05}}
        content["methods"]["toy"]["self_train"] |= {"seconds": 120.0}

    toy_workspace.declare(slow)
    started = time.monotonic()
    result = toy_workspace.tasks("self_train", "toy")
    assert time.monotonic() - started < 60
    assert result.returncode == 1
    assert result.stderr == (
        "error: self_train@toy: took longer than 0.05 minutes; "
        "params.yaml: raise resources.self_train@toy.timeout_minutes, or do less\n"
    )
    wait_until(lambda: not toy_workspace.processes(), 5, "workers end")
    assert not (toy_workspace.folder / "artifacts/toy/self_train").exists()


def test_verbose_shows_the_traceback(toy_workspace) -> None:
    result = toy_workspace.tasks("pretrain", "tpy", UNLABELED_VERBOSE="1")
    assert result.returncode == 2
    assert result.stderr.startswith("Traceback")


def test_run_leaves_no_trace_of_time_or_place(toy_workspace, tmp_path: Path) -> None:
    """The same stage in another folder, at another time and with another hash seed gives the same bytes."""
    other = toy_workspace.copy(tmp_path / "elsewhere" / "deeper")
    for workspace in (toy_workspace, other):
        for stage, name in (("prepare", "blobs"), ("checkpoint", "scale"), ("pretrain", "toy"), ("cluster", "toy")):
            assert workspace.tasks(stage, name, PYTHONHASHSEED=str(len(str(workspace.folder)))).returncode == 0
    assert toy_workspace.contents("artifacts") == other.contents("artifacts")


def test_json_of_jobs_is_not_confused_by_types(declared) -> None:
    """`1` and `1.0` and `"1"` are different parameters: jobs that differ in them are not merged."""
    job = method_jobs(declared().methods["toy"], "pseudo_label", Path("out"))[0]
    job = replace(job, inputs={}, curves={})
    jobs = [
        replace(job, parameters={"x": value}, targets=(Path(str(i)),)) for i, value in enumerate((1, 1.0, "1", True))
    ]
    assert len(share_equal_jobs(jobs)) == 4
