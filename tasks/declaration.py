"""params.yaml -> validated objects. Every mistake is found here, before anything runs.

A stage block is `{step: name, <parameters>, arms: {arm: overrides}, smoke: overrides, full: overrides}`.
The value in force is: the block, then the profile's overrides, then the arm's, then the arm's own profile's.
Nested groups merge key by key. An override that names another step keeps those inherited parameters that
the new step knows, so that a baseline trains with the method's own budget; keys written in the override
itself must be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.params import MAIN, PARAMS, PROFILES, DeclarationError, read_yaml
from tasks.steps import STAGES, Step, did_you_mean, find_step

OVERRIDES = tuple(p for p in PROFILES if p != "small")
SECTIONS = ("datasets", "checkpoints", "methods")


@dataclass(frozen=True)
class Call:
    """A step with the parameters in force for one arm (or one data set or checkpoint)."""

    stage: str
    step: str
    parameters: dict[str, Any]

    def resolve(self) -> Step:
        return find_step(self.stage, self.step)


@dataclass(frozen=True)
class Claim:
    """Arm `arm` is better than arm `beats` in `metric`."""

    metric: str
    beats: str
    higher_is_better: bool
    arm: str = MAIN


@dataclass(frozen=True)
class Sweep:
    """A figure: `metric` against one parameter across arms, one line per value of another."""

    metric: str
    against: str
    lines: str | None


@dataclass(frozen=True)
class Resources:
    """What a stage may take: minutes in all, and GiB of memory that each of its jobs (arm and seed) needs; 0: little."""

    timeout_minutes: float = 60.0
    memory_gib: float = 0.0


@dataclass(frozen=True)
class Method:
    """A validated method. `stages[stage][arm]` exists for every arm that is computed at that stage."""

    name: str
    family: str
    paper: dict[str, Any]
    data: str
    checkpoint: str
    seeds: list[int]
    stages: dict[str, dict[str, Call]]
    claims: list[Claim]
    sweeps: list[Sweep]

    def arms(self, stage: str = "evaluate") -> list[str]:
        return list(self.stages[stage])

    def source_arm(self, stage: str, arm: str) -> str:
        """The arm whose artifact of `stage` the arm uses: its own where it has branched off, else main."""
        return arm if arm in self.stages[stage] else MAIN


@dataclass
class Declaration:
    profile: str
    seeds: list[int]
    datasets: dict[str, Call] = field(default_factory=dict)
    checkpoints: dict[str, Call] = field(default_factory=dict)
    checkpoint_data: dict[str, str] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    resources: dict[str, Resources] = field(default_factory=dict)

    def resources_of(self, stage: str, name: str) -> Resources:
        """Of the stage `stage@name`: as declared for it, else for `default`."""
        return self.resources.get(f"{stage}@{name}", self.resources.get("default", Resources()))

    def method(self, name: str) -> Method:
        """The method of that name; `DeclarationError` suggests the nearest one."""
        if name not in self.methods:
            raise DeclarationError([f"unknown method '{name}'{did_you_mean(name, self.methods)}"])
        return self.methods[name]


def load_declaration(path: Path = PARAMS, only: list[str] | None = None) -> Declaration:
    """Validate params.yaml, or just the methods `only` with the data sets and checkpoints that they use."""
    return validate(read_yaml(path), str(path), only)


def load_entry(stage: str, name: str, path: Path = PARAMS) -> Declaration:
    """Validate just what one stage needs: one data set, one checkpoint or one method.

    This is what the runner calls: no step is imported that the stage does not use.
    """
    if stage not in STAGES:
        raise DeclarationError([f"unknown stage '{stage}'{did_you_mean(stage, STAGES)}"])
    section = {"prepare": "datasets", "checkpoint": "checkpoints"}.get(stage, "methods")
    content = read_yaml(path)
    names = content.get(section)
    if isinstance(names, dict) and name not in names:
        raise DeclarationError([f"{path}: {section}: no '{name}'{did_you_mean(name, names)}"])
    wanted: dict[str, set[str]] = {"datasets": set(), "checkpoints": set(), "methods": set(), section: {name}}
    return _checked(content, str(path), wanted)


def validate(content: dict[str, Any], source: str = "params.yaml", only: list[str] | None = None) -> Declaration:
    """Turn parsed YAML into a `Declaration`; all mistakes are collected into one `DeclarationError`."""
    return _checked(content, source, None if only is None else _used_by(content, only))


def _used_by(content: dict[str, Any], methods: list[str]) -> dict[str, set[str]]:
    """The methods, and the data sets and checkpoints that they need."""
    sections: dict[str, dict] = {s: content[s] if isinstance(content.get(s), dict) else {} for s in SECTIONS}
    for name in methods:
        if name not in sections["methods"]:
            raise DeclarationError([f"unknown method '{name}'{did_you_mean(name, sections['methods'])}"])
    entries = [e for n, e in sections["methods"].items() if n in methods and isinstance(e, dict)]
    checkpoints = {str(e.get("checkpoint")) for e in entries}
    used = [e for n, e in sections["checkpoints"].items() if n in checkpoints and isinstance(e, dict)]
    return {
        "datasets": {str(e.get("data")) for e in entries + used},
        "checkpoints": checkpoints,
        "methods": set(methods),
    }


def _checked(content: dict[str, Any], source: str, wanted: dict[str, set[str]] | None) -> Declaration:
    from tasks.validation import Checker  # which needs the classes of this module

    checker = Checker(source)
    declaration = checker.declaration(content, wanted)
    if checker.mistakes:
        raise DeclarationError(checker.mistakes)
    return declaration


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with `override` on top; nested mappings merge key by key."""
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def parameter_at(stages: dict[str, dict[str, Call]], arm: str, dotted: str) -> Any:
    """Value of `stage.parameter[.nested]` for an arm, or None if there is no such parameter."""
    stage, *path = str(dotted).split(".")
    calls = stages.get(stage, {})
    call = calls.get(arm, calls.get(MAIN))
    value: Any = call.parameters if call is not None else None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
