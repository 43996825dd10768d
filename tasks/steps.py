"""Steps: where they are found and what their signature says.

`tasks/<stage>/<step>.py` defines a public function `<step>`. Its positional parameters are artifacts, its
keyword-only parameters are exactly the keys that params.yaml may give. Two are injected instead: `seed` into the
stages of a method (data sets and checkpoints, which are made once, declare theirs), and into `evaluate`
`figures`, whether to draw: the runner wants pictures of the first seed only, since they cost more than numbers.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from tasks.artifacts import Artifact, Checkpoint, Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.params import METHOD_STAGES

STAGES: dict[str, type[Artifact]] = {
    "prepare": Dataset,
    "checkpoint": Checkpoint,
    "pretrain": Representation,
    "cluster": Clusters,
    "pseudo_label": PseudoLabels,
    "self_train": Model,
    "evaluate": Metrics,
}
# How a stage's output is called in the signature of a later step.
INPUT_STAGE = {
    "dataset": "prepare",
    "checkpoint": "checkpoint",
    "representation": "pretrain",
    "clusters": "cluster",
    "pseudo_labels": "pseudo_label",
    "model": "self_train",
}
NONE = "none"


class UnknownStep(ValueError):
    """No such step; the message names the nearest one."""


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, protected_namespaces=())


@dataclass(frozen=True)
class Step:
    """One step: its function, the artifacts it takes, the parameters it accepts, the metrics it yields."""

    stage: str
    name: str
    function: Callable[..., Artifact]
    inputs: tuple[str, ...]
    parameters: type[BaseModel]
    takes_seed: bool
    draws: bool
    metrics: dict[str, str]

    def accepts(self) -> list[str]:
        return list(self.parameters.model_fields)

    def run(
        self, inputs: dict[str, Artifact], parameters: dict[str, Any], seed: int | None, figures: bool = True
    ) -> Artifact:
        """Call the function with validated parameters and check the kind of what it returns."""
        arguments = self.parameters.model_validate(parameters)
        values = {name: getattr(arguments, name) for name in self.parameters.model_fields}
        if self.takes_seed:
            values["seed"] = seed
        if self.draws:
            values["figures"] = figures
        result = self.function(*(inputs[name] for name in self.inputs), **values)
        if not isinstance(result, STAGES[self.stage]):
            raise TypeError(
                f"{self.stage}.{self.name} returned {type(result).__name__}, not {STAGES[self.stage].__name__}"
            )
        return result


def step_names(stage: str) -> list[str]:
    """Names of all steps of a stage, without importing them."""
    folder = Path(__file__).parent / stage
    names = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    return sorted(names | ({NONE} if stage not in ("evaluate",) else set()))


@cache
def find_step(stage: str, name: str) -> Step:
    """Import a step and read its signature; raises `UnknownStep` with the nearest name."""
    if name not in step_names(stage):
        raise UnknownStep(f"unknown step '{name}'{did_you_mean(name, step_names(stage))}")
    if name == NONE:
        kind = STAGES[stage]
        return Step(
            stage,
            NONE,
            lambda: kind(meta={"step": NONE}),
            (),
            create_model("none", __base__=_Parameters),
            False,
            False,
            {},
        )
    module = importlib.import_module(f"tasks.{stage}.{name}")
    function = getattr(module, name, None)
    if function is None:
        raise UnknownStep(f"tasks/{stage}/{name}.py does not define a function '{name}'")
    hints = get_type_hints(function, include_extras=True)
    inputs, fields, takes_seed, draws = [], {}, False, False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            if parameter.name not in INPUT_STAGE:
                raise TypeError(f"{stage}.{name}: positional parameter '{parameter.name}' is not an artifact name")
            inputs.append(parameter.name)
        elif parameter.name == "seed" and stage in METHOD_STAGES:
            takes_seed = True
        elif parameter.name == "figures" and stage == "evaluate":
            draws = True
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
    parameters = create_model(name, __base__=_Parameters, **fields)
    return Step(stage, name, function, tuple(inputs), parameters, takes_seed, draws, getattr(module, "METRICS", {}))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known name, else the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
