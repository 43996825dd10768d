"""Steps: a signature says what is injected and what params.yaml may give; every step of the project keeps to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.artifacts import Clusters, Dataset, Metrics, Model, Representation
from tasks.steps import INPUT_STAGE, NONE, STAGES, UnknownStep, did_you_mean, find_step, step_names

Add = Callable[[str, str, str], None]
HEAD = "from tasks.artifacts import *\nfrom tasks.artifacts import Dataset, Model, Representation, Clusters\n"
ALL = [(stage, name) for stage in STAGES for name in step_names(stage) if name != NONE]


def test_signature(toy_steps: Add) -> None:
    step = find_step("self_train", "toy_vote")
    assert step.inputs == ("dataset", "pseudo_labels")
    assert step.accepts() == ["flip", "seconds", "fail"]
    assert step.takes_seed
    assert not find_step("pretrain", "toy_scaled").takes_seed
    assert find_step("evaluate", "toy_accuracy").metrics.keys() == {"accuracy"}


def test_seed_is_a_parameter_of_data_sets_and_injected_elsewhere(toy_steps: Add) -> None:
    step = find_step("prepare", "toy_blobs")
    assert "seed" in step.accepts()
    assert not step.takes_seed


def test_unknown_names_the_nearest(toy_steps: Add) -> None:
    with pytest.raises(UnknownStep, match=r"^unknown step 'toy_vot'; did you mean 'toy_vote'\?$"):
        find_step("self_train", "toy_vot")


def test_file_without_the_function(toy_steps: Add) -> None:
    toy_steps("cluster", "empty", "def other(): ...\n")
    with pytest.raises(UnknownStep, match=r"tasks/cluster/empty\.py does not define a function 'empty'"):
        find_step("cluster", "empty")


def test_positional_parameter_that_is_no_artifact(toy_steps: Add) -> None:
    toy_steps("cluster", "strange", HEAD + "def strange(data: Dataset) -> Clusters: ...\n")
    with pytest.raises(TypeError, match=r"cluster\.strange: positional parameter 'data' is not an artifact name"):
        find_step("cluster", "strange")


def test_wrong_kind_of_result(toy_steps: Add) -> None:
    toy_steps("cluster", "wrong", HEAD + "def wrong(dataset: Dataset) -> Clusters:\n    return Model()\n")
    with pytest.raises(TypeError, match=r"cluster\.wrong returned Model, not Clusters"):
        find_step("cluster", "wrong").run({"dataset": Dataset()}, {}, None)


def test_private_modules_are_no_steps(toy_steps: Add) -> None:
    toy_steps("cluster", "_helper", "")
    assert "_helper" not in [name for name in step_names("cluster") if not name.startswith("_")]


def test_run_injects_artifacts_by_name_parameters_and_seed(toy_steps: Add) -> None:
    source = HEAD + (
        "def spy(clusters: Clusters, dataset: Dataset, *, k: int, rate: float = 0.5, seed: int) -> Model:\n"
        "    return Model(meta={'got': [clusters.KIND, dataset.KIND, k, rate, seed]})\n"
    )
    toy_steps("self_train", "spy", source)
    result = find_step("self_train", "spy").run({"dataset": Dataset(), "clusters": Clusters()}, {"k": 3}, 7)
    assert result.meta["got"] == ["clusters", "dataset", 3, 0.5, 7]


def test_nested_group_arrives_as_the_validated_object(toy_steps: Add) -> None:
    source = HEAD + (
        "from tasks.nn.training import Optimizer\n"
        "def nested(*, optimizer: Optimizer = Optimizer()) -> Model:\n"
        "    return Model(meta={'lr': optimizer.lr, 'kind': type(optimizer).__name__})\n"
    )
    toy_steps("self_train", "nested", source)
    step = find_step("self_train", "nested")
    assert step.run({}, {"optimizer": {"lr": 0.5}}, None).meta == {"lr": 0.5, "kind": "Optimizer"}
    assert step.run({}, {}, None).meta["lr"] == 1e-3


@pytest.mark.parametrize("bad", [{"flip": "0.4"}, {"fail": 1}, {"seconds": None}, {"unknown": 1}, {"seed": 1}])
def test_types_are_strict(toy_steps: Add, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        find_step("self_train", "toy_vote").parameters.model_validate(bad)


def test_none_makes_an_empty_artifact_of_the_stage() -> None:
    result = find_step("pretrain", NONE).run({}, {}, None)
    assert isinstance(result, Representation)
    assert result.is_none
    with pytest.raises(UnknownStep):
        find_step("evaluate", NONE)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("kmean", ["kmeans", "ward"], "; did you mean 'kmeans'?"),
        ("zzz", ["ward", "kmeans"], "; known: kmeans, ward"),
        ("zzz", [], ""),
    ],
)
def test_did_you_mean(name: str, known: list[str], said: str) -> None:
    assert did_you_mean(name, known) == said


# ---- every step of the project --------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "name"), ALL)
def test_step_keeps_the_contract(stage: str, name: str) -> None:
    step = find_step(stage, name)
    order = list(STAGES)
    assert all(order.index(INPUT_STAGE[i]) < order.index(stage) for i in step.inputs), "reads what comes later"
    documentation = inspect.getdoc(step.function) or ""
    for parameter in step.accepts():
        assert re.search(rf"\b{parameter}\b", documentation), f"docstring does not explain '{parameter}'"
    for field in step.parameters.model_fields.values():
        assert not str(field.annotation).startswith("tuple"), "YAML has lists, and strict types refuse them for tuples"
    if stage == "evaluate":
        assert step.metrics
        assert all(isinstance(text, str) and text for text in step.metrics.values())


def test_metrics_is_what_evaluate_makes() -> None:
    assert STAGES["evaluate"] is Metrics
    assert STAGES["self_train"] is Model
