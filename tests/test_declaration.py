"""params.yaml: every mistake is found before anything runs, named in one line with its key and remedy."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tasks.declaration import Declaration, load_declaration, load_entry, merge, parameter_at, validate
from tasks.params import MAIN, DeclarationError, read_yaml

TOY_PARAMS = Path(__file__).parent / "toy" / "params.yaml"
TRAINED = '''
"""Takes a nested group."""
from typing import Annotated, Literal
import numpy as np
from pydantic import Field
from tasks.artifacts import Dataset, Model
from tasks.nn.training import Optimizer


def toy_trained(dataset: Dataset, *, epochs: Annotated[int, Field(ge=0)], mode: Literal["hard", "soft"] = "hard",
                optimizer: Optimizer = Optimizer(), flip: float = 0.0, rates: list[float] = [], seed: int) -> Model:
    return Model()
'''


@pytest.fixture(autouse=True)
def _steps(toy_steps: Callable[[str, str, str], None]) -> None:
    toy_steps("self_train", "toy_trained", TRAINED)


# ---- mistakes -------------------------------------------------------------------------------------------------


def put(path: str, value: Any) -> Callable[[dict], None]:
    """A change that sets `a.b.c` (a number indexes a list)."""

    def change(content: dict) -> None:
        *parts, last = path.split(".")
        for part in parts:
            content = content[int(part)] if isinstance(content, list) else content[part]
        content[int(last) if isinstance(content, list) else last] = value

    return change


def drop(path: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        *parts, last = path.split(".")
        for part in parts:
            content = content[part]
        del content[last]

    return change


TOY = "methods.toy"
TRAINER = {"step": "toy_trained", "epochs": 1}
MISTAKES = {
    # steps
    "unknown step": (put(f"{TOY}.cluster.step", "toy_halfs"), "methods.toy.cluster.step: unknown step 'toy_halfs'; did you mean 'toy_halves'?"),
    "unknown step of a data set": (put("datasets.blobs.step", "toy_blob"), "datasets.blobs.step: unknown step 'toy_blob'; did you mean 'toy_blobs'?"),
    "unknown step of an arm": (put(f"{TOY}.self_train.arms.flipped", {"step": "toy_votes"}), "methods.toy.self_train.arms.flipped.step: unknown step 'toy_votes'; did you mean 'toy_vote'?"),
    "step of another stage": (put(f"{TOY}.cluster", {"step": "toy_vote"}), "methods.toy.cluster.step: unknown step 'toy_vote'"),
    "evaluation cannot be none": (put(f"{TOY}.evaluate.step", "none"), "methods.toy.evaluate.step: unknown step 'none'"),
    "step is a number": (put(f"{TOY}.cluster", {"step": 3}), "methods.toy.cluster.step: must be the name of a step, got 3"),
    "step is a list": (put(f"{TOY}.cluster", {"step": ["toy_halves"]}), "methods.toy.cluster.step: must be the name of a step, got ['toy_halves']"),
    "block without a step": (drop(f"{TOY}.cluster.step"), "methods.toy.cluster: must be a mapping with a 'step'"),
    "block that is a name": (put(f"{TOY}.cluster", "toy_halves"), "methods.toy.cluster: must be a mapping with a 'step'"),
    # parameters
    "unknown parameter": (put(f"{TOY}.cluster.kk", 3), "methods.toy.cluster.kk: step 'toy_halves' has no parameter 'kk'"),
    "unknown parameter, nearest": (put(f"{TOY}.cluster.jiter", 3.0), "step 'toy_halves' has no parameter 'jiter'; did you mean 'jitter'?"),
    "seed is not the user's": (put(f"{TOY}.cluster.seed", 3), "methods.toy.cluster.seed: step 'toy_halves' has no parameter 'seed'"),
    "missing parameter": (put(f"{TOY}.self_train", {"step": "toy_trained", "arms": {"flipped": {"flip": 0.5}}}), "methods.toy.self_train: step 'toy_trained' needs the parameter 'epochs'"),
    "text for a number": (put(f"{TOY}.cluster.k", "3"), "methods.toy.cluster.k: input should be a valid integer, got '3'"),
    "fraction for a whole number": (put(f"{TOY}.cluster.k", 2.5), "methods.toy.cluster.k: input should be a valid integer"),
    "yes for a number": (put(f"{TOY}.cluster.k", True), "methods.toy.cluster.k: input should be a valid integer, got True"),
    "out of range": (put(f"{TOY}.cluster.k", 1), "methods.toy.cluster.k: input should be greater than or equal to 2, got 1"),
    "none of the choices": (put(f"{TOY}.self_train", {**TRAINER, "mode": "firm", "arms": {"flipped": {"flip": 0.5}}}), "methods.toy.self_train.mode: input should be 'hard' or 'soft', got 'firm'"),
    "nested unknown": (put(f"{TOY}.self_train", {**TRAINER, "optimizer": {"lr": 0.1, "momentun": 0.9}, "arms": {"flipped": {}}}), "methods.toy.self_train.optimizer.momentun: unknown parameter; did you mean 'momentum'?"),
    "nested mistyped": (put(f"{TOY}.self_train", {**TRAINER, "optimizer": {"lr": "fast"}, "arms": {"flipped": {}}}), "methods.toy.self_train.optimizer.lr: input should be a valid number, got 'fast'"),
    "nested out of range": (put(f"{TOY}.self_train", {**TRAINER, "optimizer": {"lr": -1.0}, "arms": {"flipped": {}}}), "methods.toy.self_train.optimizer.lr: input should be greater than 0, got -1.0"),
    "list entry mistyped": (put(f"{TOY}.self_train", {**TRAINER, "rates": [0.1, "x"], "arms": {"flipped": {}}}), "methods.toy.self_train.rates.1: input should be a valid number, got 'x'"),
    "unknown parameter in a profile in force": (lambda c: (c.update(profile="smoke"), put("datasets.blobs.smoke", {"m": 3})(c)), "datasets.blobs.smoke.m: step 'toy_blobs' has no parameter 'm'"),
    "profile that is no mapping": (put("datasets.blobs.smoke", 12), "datasets.blobs.smoke: must be a mapping of overrides"),
    # arms
    "arm overrides what the step lacks": (put(f"{TOY}.cluster.arms.jittered", {"jiter": 3.0}), "methods.toy.cluster.arms.jittered.jiter: step 'toy_halves' has no parameter 'jiter'; did you mean 'jitter'?"),
    "arm with a mistyped value": (put(f"{TOY}.cluster.arms.jittered", {"jitter": "much"}), "methods.toy.cluster.arms.jittered.jitter: input should be a valid number, got 'much'"),
    "arm that is no mapping": (put(f"{TOY}.cluster.arms.jittered", 3), "methods.toy.cluster.arms.jittered: must be a mapping of overrides"),
    "arms that are a list": (put(f"{TOY}.cluster.arms", ["jittered"]), "methods.toy.cluster.arms: must be a mapping of arm names to overrides"),
    "arm named main": (put(f"{TOY}.cluster.arms.main", {}), "methods.toy.cluster.arms: 'main' is the method itself; choose another name"),
    "arm named summary": (put(f"{TOY}.cluster.arms.summary", {}), "methods.toy.cluster.arms.summary: names are lower-case letters, digits and _, and not summary"),
    "arm that cannot be a folder": (put(f"{TOY}.cluster.arms", {"jittered": {}, "../up": {}}), "methods.toy.cluster.arms.../up: names are lower-case letters, digits and _"),
    "arm overrides what another step lacks": (put(f"{TOY}.self_train.arms.flipped", {"step": "toy_trained", "epochs": 1, "fail": True}), "methods.toy.self_train.arms.flipped.fail: step 'toy_trained' has no parameter 'fail'"),
    # methods
    "method without a stage": (drop(f"{TOY}.cluster"), "methods.toy: 'cluster' is missing"),
    "method without claims": (drop(f"{TOY}.claims"), "methods.toy: 'claims' is missing"),
    "unknown key of a method": (put(f"{TOY}.clusters", {}), "methods.toy.clusters: unknown key; did you mean 'cluster'?"),
    "method that is no mapping": (put(TOY, "toy"), "methods.toy: must be a mapping"),
    "unknown data set": (put(f"{TOY}.data", "blob"), "methods.toy.data: 'blob' is not in datasets; did you mean 'blobs'?"),
    "data set is a list": (put(f"{TOY}.data", ["blobs"]), "methods.toy.data: '['blobs']' is not in datasets"),
    "unknown checkpoint": (put(f"{TOY}.checkpoint", "scales"), "methods.toy.checkpoint: 'scales' is not in checkpoints; did you mean 'scale'?"),
    "unknown data set of a checkpoint": (put("checkpoints.scale.data", "blobz"), "checkpoints.scale.data: 'blobz' is not in datasets; did you mean 'blobs'?"),
    "checkpoint without data": (drop("checkpoints.scale.data"), "checkpoints.scale.data: 'None' is not in datasets"),
    "paper is text": (put(f"{TOY}.paper", "A toy"), "methods.toy.paper: must be a mapping with title and venue"),
    "paper without venue": (drop(f"{TOY}.paper.venue"), "methods.toy.paper: must be a mapping with title and venue"),
    "method with a reserved name": (lambda c: c["methods"].update(data=c["methods"]["toy"]), "methods.data: names are lower-case letters, digits and _, and not data or checkpoint"),
    "method that cannot be a folder": (lambda c: c["methods"].update({"To y": c["methods"]["toy"]}), "methods.To y: names are lower-case"),
    "data set named by a number": (lambda c: c["datasets"].update({7: {"step": "none"}}), "datasets.7: names are lower-case"),
    "no time at all": (put("resources", {"default": {"timeout_minutes": 0}}), "resources.default.timeout_minutes: must be a number above 0, got 0"),
    "memory in words": (put("resources", {"cluster@toy": {"memory_gib": "8G"}}), "resources.cluster@toy.memory_gib: must be a number above 0, got '8G'"),
    "resources of no stage": (put("resources", {"cluster@tpy": {"memory_gib": 8}}), "resources.cluster@tpy: no such stage; did you mean 'cluster@toy'?"),
    "unknown resource": (put("resources", {"default": {"memory": 8}}), "resources.default.memory: unknown key; did you mean 'memory_gib'?"),
    "resources in a list": (put("resources", [8]), "resources: must be a mapping of stages, as self_train@METHOD, or default"),
    "resource without a name": (put("resources", {"default": 8}), "resources.default: must be {timeout_minutes: N, memory_gib: N}"),
    # claims and sweeps
    "claim with an unknown metric": (put(f"{TOY}.claims.0.metric", "acuracy"), "methods.toy.claims.0.metric: 'toy_accuracy' yields no metric 'acuracy'; did you mean 'accuracy'?"),
    "claim with an unknown arm": (put(f"{TOY}.claims.0.beats", "jittred"), "methods.toy.claims.0.beats: no arm 'jittred'; did you mean 'jittered'?"),
    "claim without direction": (lambda c: c["methods"]["toy"]["claims"][0].pop("higher_is_better"), "methods.toy.claims.0: 'higher_is_better' is missing"),
    "claim with a vague direction": (put(f"{TOY}.claims.0.higher_is_better", "no"), "methods.toy.claims.0.higher_is_better: must be true or false, got 'no'"),
    "claim with an unknown key": (put(f"{TOY}.claims.0.beat", "x"), "methods.toy.claims.0.beat: unknown key; did you mean 'beats'?"),
    "claim that is no mapping": (put(f"{TOY}.claims.0", "x"), "methods.toy.claims.0: must be {metric, beats, higher_is_better, arm}"),
    "claim about an unknown arm": (put(f"{TOY}.claims.0.arm", "flippd"), "methods.toy.claims.0.arm: no arm 'flippd'; did you mean 'flipped'?"),
    "claim of an arm about itself": (put(f"{TOY}.claims.0.beats", "main"), "methods.toy.claims.0.beats: arm 'main' cannot beat itself"),
    "no claim": (put(f"{TOY}.claims", []), "methods.toy.claims: must be a list of at least one"),
    "sweep over nothing": (put(f"{TOY}.sweeps", [{"metric": "accuracy", "against": "cluster.kk"}]), "methods.toy.sweeps.0.against: 'cluster.kk' is no parameter in force"),
    "sweep with an unknown metric": (put(f"{TOY}.sweeps", [{"metric": "acuracy", "against": "cluster.k"}]), "methods.toy.sweeps.0.metric: 'toy_accuracy' yields no metric 'acuracy'; did you mean 'accuracy'?"),
    # seeds and profile
    "seeds are missing": (drop("seeds"), "(top level): 'seeds' is missing"),
    "no seed": (put("seeds", []), "seeds: must be a list of at least one integer >= 0, got []"),
    "seed below 0": (put("seeds", [0, -1]), "seeds: must be a list of at least one integer >= 0, got [0, -1]"),
    "seed is no number": (put("seeds", [0, "1"]), "seeds: must be a list of at least one integer >= 0"),
    "seed is a yes": (put("seeds", [0, True]), "seeds: must be a list of at least one integer >= 0"),
    "seeds are a number": (put("seeds", 3), "seeds: must be a list of at least one integer >= 0, got 3"),
    "seed twice": (put("seeds", [0, 1, 0]), "seeds: every seed once, got [0, 1, 0]"),
    "at_most nothing": (put(f"{TOY}.seeds", {"at_most": 0}), "methods.toy.seeds.at_most: must be an integer >= 1, got 0"),
    "at_most without a number": (put(f"{TOY}.seeds", {"smoke": {"at_most": 1}}), "methods.toy.seeds.at_most: must be an integer >= 1, got None"),
    "at_most misspelt": (put(f"{TOY}.seeds", {"atmost": 2}), "methods.toy.seeds: must be {at_most: N}"),
    "at_most of a profile is no mapping": (lambda c: (c.update(profile="smoke"), put(f"{TOY}.seeds", {"at_most": 3, "smoke": 2})(c)), "methods.toy.seeds: must be {at_most: N}"),
    "unknown profile": (put("profile", "smok"), "profile: unknown profile 'smok'; did you mean 'smoke'?"),
    "profile is a list": (put("profile", ["smoke"]), "profile: unknown profile '['smoke']'"),
    # top level
    "unknown key at the top": (put("dataset", {}), "dataset: unknown key; did you mean 'datasets'?"),
    "section is missing": (drop("checkpoints"), "(top level): 'checkpoints' is missing"),
    "section is a list": (put("datasets", []), "datasets: must be a mapping of names to entries"),
}  # fmt: skip


@pytest.fixture
def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`python -m tasks fingerprint`, which validates everything, in this process: (exit code, lines on stderr)."""
    from tasks import __main__ as command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "write_fingerprint", lambda declaration: None)
    before = signal.getsignal(signal.SIGTERM)

    def run(text: str) -> tuple[int, list[str]]:
        (tmp_path / "params.yaml").write_text(text)
        code = command.main(["fingerprint"])
        return code, capsys.readouterr().err.splitlines()

    yield run
    signal.signal(signal.SIGTERM, before)


def dumped(content: dict) -> str:
    import io

    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.representer.ignore_aliases = lambda data: True
    yaml.dump(content, stream)
    return stream.getvalue()


def test_the_toy_is_sound(fingerprint) -> None:
    assert fingerprint(TOY_PARAMS.read_text()) == (0, [])


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(name: str, toy_params: dict, fingerprint) -> None:
    change, message = MISTAKES[name]
    change(toy_params)
    code, lines = fingerprint(dumped(toy_params))
    assert code == 2
    assert len(lines) == len(set(lines))
    matching = [line for line in lines if message in line]
    assert len(matching) == 1, lines
    assert matching[0].startswith("error: params.yaml: ")


SYNTAX = {
    "unclosed bracket": ("profile: small\nseeds: [0, 1\ndatasets: {}\n", "params.yaml:3: YAML syntax error"),
    "tab": ("profile: small\nseeds:\n\t- 0\n", "params.yaml:3: YAML syntax error"),
    "odd indentation": ("profile: small\n  seeds: [0]\n", "params.yaml:2: YAML syntax error"),
    "duplicate key": ("profile: small\nseeds: [0]\nprofile: full\n", 'params.yaml:3: found duplicate key "profile"; remove one of the two'),
    "duplicate method": ("methods:\n  toy: {}\n  toy: {}\n", 'params.yaml:3: found duplicate key "toy"'),
    "python object": ("profile: !!python/object/apply:os.system ['true']\n", "params.yaml:1: YAML syntax error"),
    "empty": ("", "params.yaml: must be a mapping with profile, seeds, datasets, checkpoints, methods"),
    "list": ("- profile\n", "params.yaml: must be a mapping with profile"),
    "control character": ("profile: small\nseeds: [0]\nname: a\x07b\n", "params.yaml:3: YAML syntax error"),
}  # fmt: skip


@pytest.mark.parametrize("name", SYNTAX)
def test_syntax_error_names_the_line(name: str, fingerprint) -> None:
    text, message = SYNTAX[name]
    code, lines = fingerprint(text)
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"profile: \xff\xfe\n")
    with pytest.raises(DeclarationError, match=r"params\.yaml: is not UTF-8"):
        read_yaml(tmp_path / "params.yaml")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"params\.yaml: No such file or directory; run in the folder"):
        read_yaml(tmp_path / "params.yaml")


def test_all_mistakes_at_once(toy_params: dict) -> None:
    toy_params["seeds"] = []
    toy_params["methods"]["toy"]["cluster"]["k"] = 0
    toy_params["methods"]["toy"]["data"] = "nowhere"
    with pytest.raises(DeclarationError) as caught:
        validate(toy_params)
    assert len(caught.value.mistakes) == 3
    assert str(caught.value).splitlines() == caught.value.mistakes


def test_bad_value_that_a_sweep_varies_is_told_once(toy_params: dict) -> None:
    toy = toy_params["methods"]["toy"]
    toy["cluster"]["k"] = 1
    toy["sweeps"] = [{"metric": "accuracy", "against": "cluster.k", "lines": "cluster.jiter"}]
    with pytest.raises(DeclarationError) as caught:
        validate(toy_params)
    assert len(caught.value.mistakes) == 1
    assert "methods.toy.cluster.k: input should be greater than or equal to 2" in caught.value.mistakes[0]
    toy["cluster"]["k"] = 2
    with pytest.raises(DeclarationError, match=r"sweeps\.0\.lines: 'cluster\.jiter' is no parameter in force"):
        validate(toy_params)


def test_mistake_of_a_stage_is_told_once_not_once_per_arm(toy_params: dict) -> None:
    toy_params["methods"]["toy"]["cluster"]["kk"] = 1
    with pytest.raises(DeclarationError) as caught:
        validate(toy_params)
    assert len(caught.value.mistakes) == 1


# ---- one method, one entry ------------------------------------------------------------------------------------


def test_unknown_method(toy_params: dict) -> None:
    with pytest.raises(DeclarationError, match=r"^unknown method 'tpy'; did you mean 'toy'\?$"):
        validate(toy_params, only=["tpy"])


def test_mistakes_of_other_methods_do_not_stop_one(toy_params: dict) -> None:
    broken = {**toy_params["methods"]["toy"], "data": "nowhere"}
    toy_params["methods"]["broken"] = broken
    assert list(validate(toy_params, only=["toy"]).methods) == ["toy"]
    with pytest.raises(DeclarationError, match=r"methods\.broken\.data"):
        validate(toy_params)


def test_only_brings_the_data_sets_and_checkpoints_in_use(toy_params: dict) -> None:
    declaration = validate(toy_params, only=["toy"])
    assert list(declaration.datasets) == ["blobs"]
    assert list(declaration.checkpoints) == ["scale"]


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("cluster", "tpy", "methods: no 'tpy'; did you mean 'toy'?"),
        ("prepare", "blob", "datasets: no 'blob'; did you mean 'blobs'?"),
        ("checkpoint", "scal", "checkpoints: no 'scal'; did you mean 'scale'?"),
        ("clster", "toy", "unknown stage 'clster'; did you mean 'cluster'?"),
    ],
)
def test_unknown_entry(stage: str, name: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_entry(stage, name, TOY_PARAMS)
    assert message in str(caught.value)


def test_entry_validates_only_itself(tmp_path: Path, toy_params: dict) -> None:
    toy_params["methods"]["broken"] = {"data": "nowhere"}
    (tmp_path / "params.yaml").write_text(dumped(toy_params))
    assert list(load_entry("cluster", "toy", tmp_path / "params.yaml").methods) == ["toy"]
    assert list(load_entry("prepare", "blobs", tmp_path / "params.yaml").datasets) == ["blobs"]


# ---- what is in force -----------------------------------------------------------------------------------------


def parameters(declaration: Declaration, stage: str, arm: str = MAIN) -> tuple[str, dict]:
    call = declaration.methods["toy"].stages[stage][arm]
    return call.step, call.parameters


def test_profile_stands_beside_the_value_it_changes(toy_params: dict) -> None:
    assert validate(toy_params).datasets["blobs"].parameters == {"n": 40}
    assert validate({**toy_params, "profile": "smoke"}).datasets["blobs"].parameters == {"n": 12}
    assert validate({**toy_params, "profile": "full"}).datasets["blobs"].parameters == {"n": 40}


def test_mistake_in_a_profile_is_found_when_that_profile_is_in_force(toy_params: dict) -> None:
    toy_params["datasets"]["blobs"]["full"] = {"m": 3}
    validate(toy_params)
    with pytest.raises(DeclarationError, match=r"datasets\.blobs\.full\.m: step 'toy_blobs' has no parameter 'm'"):
        validate({**toy_params, "profile": "full"})


@pytest.mark.parametrize("profile", ["small", "smoke"])
def test_mistake_is_reported_where_it_is_written(toy_params: dict, profile: str) -> None:
    """Not at the arm or the profile that inherits the value."""
    toy_params["methods"]["toy"]["cluster"] |= {"k": 0, "smoke": {"jitter": 1.0}}
    with pytest.raises(DeclarationError) as caught:
        validate({**toy_params, "profile": profile})
    assert caught.value.mistakes == [
        "params.yaml: methods.toy.cluster.k: input should be greater than or equal to 2, got 0"
    ]


def test_order_of_overrides(toy_params: dict) -> None:
    """The block, then its profile, then the arm, then the arm's profile; nested groups key by key."""
    toy_params["methods"]["toy"]["self_train"] = {
        "step": "toy_trained",
        "epochs": 1,
        "optimizer": {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1},
        "smoke": {"epochs": 2, "optimizer": {"momentum": 0.6}},
        "arms": {
            "flipped": {"flip": 0.4, "optimizer": {"lr": 0.2}, "smoke": {"flip": 0.9}},
            "same_epochs": {"epochs": 7},
        },
    }
    small = validate(toy_params)
    group = {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}
    assert parameters(small, "self_train") == ("toy_trained", {"epochs": 1, "optimizer": group})
    assert parameters(small, "self_train", "flipped")[1] == {
        "epochs": 1,
        "flip": 0.4,
        "optimizer": {**group, "lr": 0.2},
    }
    smoke = validate({**toy_params, "profile": "smoke"})
    group["momentum"] = 0.6
    assert parameters(smoke, "self_train")[1] == {"epochs": 2, "optimizer": group}
    assert parameters(smoke, "self_train", "flipped")[1] == {
        "epochs": 2,
        "flip": 0.9,
        "optimizer": {**group, "lr": 0.2},
    }
    assert parameters(smoke, "self_train", "same_epochs")[1]["epochs"] == 7


def test_arm_with_another_step_keeps_the_parameters_that_it_knows(toy_params: dict) -> None:
    toy_params["methods"]["toy"]["self_train"] = {
        "step": "toy_vote",
        "flip": 0.3,
        "seconds": 0.0,
        "arms": {"flipped": {"step": "toy_trained", "epochs": 4}},
    }
    assert parameters(validate(toy_params), "self_train", "flipped") == ("toy_trained", {"epochs": 4, "flip": 0.3})


def test_profile_with_another_step(toy_params: dict) -> None:
    toy_params["datasets"]["blobs"]["full"] = {"step": "none"}
    full = validate({**toy_params, "profile": "full"}).datasets["blobs"]
    assert (full.step, full.parameters) == ("none", {})


def test_arm_branches_off_where_it_is_first_named(toy_params: dict) -> None:
    method = validate(toy_params).methods["toy"]
    assert {stage: list(calls) for stage, calls in method.stages.items()} == {
        "pretrain": ["main"],
        "cluster": ["main", "jittered"],
        "pseudo_label": ["main", "jittered"],
        "self_train": ["main", "jittered", "flipped"],
        "evaluate": ["main", "jittered", "flipped"],
    }
    assert [method.source_arm(stage, "flipped") for stage in method.stages] == ["main"] * 3 + ["flipped"] * 2
    assert [method.source_arm(stage, "jittered") for stage in method.stages] == ["main"] + ["jittered"] * 4
    assert method.arms() == ["main", "jittered", "flipped"]


def test_below_its_branch_an_arm_runs_as_main_unless_named_again(toy_params: dict) -> None:
    toy_params["methods"]["toy"]["self_train"]["arms"]["jittered"] = {"flip": 0.1}
    declaration = validate(toy_params)
    assert parameters(declaration, "pseudo_label", "jittered") == parameters(declaration, "pseudo_label")
    assert parameters(declaration, "self_train", "jittered")[1] == {"flip": 0.1}
    assert parameters(declaration, "self_train")[1] == {}


@pytest.mark.parametrize(("profile", "seeds"), [("small", [4, 5, 6]), ("smoke", [4, 5]), ("full", [4, 5, 6, 7, 8])])
def test_at_most_takes_the_first_seeds_of_each_profile(toy_params: dict, profile: str, seeds: list[int]) -> None:
    toy_params |= {"seeds": [4, 5, 6, 7, 8], "profile": profile}
    toy_params["methods"]["toy"]["seeds"]["full"] = {"at_most": 9}
    assert validate(toy_params).methods["toy"].seeds == seeds


def test_no_limit_takes_all_seeds(toy_params: dict) -> None:
    toy_params |= {"seeds": [3, 1, 2, 9]}
    toy_params["methods"]["toy"]["seeds"] = None
    assert validate(toy_params).methods["toy"].seeds == [3, 1, 2, 9]


def test_whole_number_where_a_fraction_is_asked_for(toy_params: dict) -> None:
    toy_params["methods"]["toy"]["cluster"]["jitter"] = 3
    assert parameters(validate(toy_params), "cluster")[1]["jitter"] == 3


def test_merge_leaves_its_arguments_alone() -> None:
    base, override = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": {"e": 1}}
    assert merge(base, override) == {"a": {"b": 9, "c": 2}, "d": {"e": 1}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    assert override == {"a": {"b": 9}, "d": {"e": 1}}


def test_parameter_at(toy_params: dict) -> None:
    stages = validate(toy_params).methods["toy"].stages
    assert parameter_at(stages, "main", "cluster.k") == 2
    assert parameter_at(stages, "jittered", "cluster.jitter") == 3.0
    assert parameter_at(stages, "flipped", "cluster.k") == 2
    assert parameter_at(stages, "main", "cluster.k.more") is None
    assert parameter_at(stages, "main", "nowhere.k") is None


# ---- the project's own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["small", "smoke", "full"])
def test_params_of_the_project_are_sound(profile: str) -> None:
    path = Path(__file__).parents[1] / "params.yaml"
    assert load_declaration(path).methods
    assert validate({**read_yaml(path), "profile": profile}).profile == profile


@pytest.mark.parametrize("stage", ["data set", "checkpoint", "method"])
def test_unknown_name_in_a_declaration(stage: str, toy_params: dict) -> None:
    from tasks.run import run_stage

    declaration = validate(toy_params)
    kind = {"data set": "prepare", "checkpoint": "checkpoint", "method": "cluster"}[stage]
    with pytest.raises(DeclarationError, match=f"unknown {stage} 'zzz'; known: "):
        run_stage(declaration, kind, "zzz", lambda label, report: None)
