"""The variants of a sweep: every combination of the values given, checked before anything runs."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.edit import assign
from tasks.declaration import Declaration, Method, validate
from tasks.params import MAIN, METHOD_STAGES, DeclarationError, read_yaml
from tasks.steps import did_you_mean

CURRENT = "current"
MOST = 200  # more is more likely a slip than a wish
_CLOSING = {"[": "]", "{": "}"}


@dataclass(frozen=True)
class Variant:
    """One combination of values. `name` is its folder, `label` what tables call it.

    `written` holds each key's value as YAML, `values` the same parsed. `shared` names what its stages depend on: two
    variants with an element in common have the stages up to there in common.
    """

    name: str
    label: str
    written: dict[str, str]
    values: dict[str, Any]
    shared: frozenset[str]

    def assignments(self) -> list[str]:
        """As `unlabeled run --set` takes them."""
        return [f"{key}={text}" for key, text in self.written.items()]

    def tag(self) -> str:
        """What MLflow's runs of this variant carry."""
        return " ".join(self.assignments()) or "current values"

    @property
    def is_current(self) -> bool:
        return self.name == CURRENT


@dataclass(frozen=True)
class Plan:
    """A checked sweep. The first variant is the workspace as it stands; `values` are those of params.yaml."""

    id: str
    method: str
    metric: str
    higher_is_better: bool
    profile: str
    variants: list[Variant]

    def command(self, variant: Variant) -> str:
        """The command line that makes a variant the workspace's own."""
        return shlex.join(["unlabeled", "run", self.method, *(w for a in variant.assignments() for w in ("--set", a))])


def plan_sweep(method: str, grid: dict[str, list[str]], metric: str | None = None) -> Plan:
    """The variants of `method` in every combination of `grid`: `{key of params.yaml: values written in YAML}`.

    Raises `DeclarationError` for whatever could go wrong later: unknown names, values that the steps refuse, and
    keys that make no difference.
    """
    content = read_yaml()
    declaration = validate(content)
    declared = declaration.method(method)
    chosen, higher = _metric(declared, metric)
    combinations = [dict(zip(grid, texts, strict=True)) for texts in itertools.product(*grid.values())]
    if len(combinations) > MOST:
        raise DeclarationError([f"{len(combinations)} variants, and {MOST} is the most; leave out values"])
    current = {key: _in_force(declared, key, _value(content, key)) for key in grid}
    _no_value_twice(content, grid)
    contents = _checked(content, combinations)
    _every_key_counts(method, content, combinations, contents)
    labels = dict(zip(grid, _short(list(grid)), strict=True))
    variants = [_variant(method, CURRENT, labels, {}, current)]
    for index, (combination, candidate) in enumerate(zip(combinations, contents, strict=True), 1):
        if candidate != content:
            values = {key: _value(candidate, key) for key in grid}
            variants.append(_variant(method, f"{index:02d}", labels, combination, values))
    if len(variants) == 1:
        said = ", ".join(f"{key}={text}" for key, text in combinations[0].items())
        raise DeclarationError([f"nothing to compare: params.yaml says {said} already; give other values"])
    digest = hashlib.sha256(json.dumps([method, grid], sort_keys=True).encode()).hexdigest()[:6]
    identity = _slug("-".join([method, *labels.values()])) + f"-{digest}"
    return Plan(identity, method, chosen, higher, declaration.profile, variants)


def parse_grid(assignments: list[str]) -> dict[str, list[str]]:
    """`["a.b=1,2", "c=[1,2],[3]"]` -> `{"a.b": ["1", "2"], "c": ["[1,2]", "[3]"]}`; raises `DeclarationError`."""
    grid: dict[str, list[str]] = {}
    for assignment in assignments:
        key, separator, texts = assignment.partition("=")
        if not separator or not key:
            raise DeclarationError([f"--set {assignment}: write key.path=value,value"])
        if key in grid:
            raise DeclarationError([f"--set {key}: given twice; write all its values in one, separated by commas"])
        grid[key] = list(_split(key, texts))
        if "" in grid[key]:
            what = "no value" if grid[key] == [""] else "an empty value; write null for no value"
            raise DeclarationError([f"--set {assignment}: {what}"])
    if not grid:
        raise DeclarationError(["nothing to vary: give --set key.path=value,value"])
    return grid


def write_grid(grid: dict[str, list[Any]]) -> dict[str, list[str]]:
    """The values in YAML, from the parameters of a deployment."""
    if empty := [key for key, values in grid.items() if not values] or (not grid and ["grid"]):
        raise DeclarationError([f"{key}: no value" for key in empty])
    return {key: [json.dumps(value) for value in values] for key, values in grid.items()}


def _split(key: str, text: str) -> Iterator[str]:
    """Split on commas outside of brackets and quotes."""
    open_brackets: list[str] = []
    quote, start = "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _CLOSING:
            open_brackets.append(_CLOSING[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character == "," and not open_brackets:
            yield text[start:index].strip()
            start = index + 1
    if open_brackets or quote:
        raise DeclarationError([f"--set {key}={text}: '{quote or open_brackets[-1]}' is missing"])
    yield text[start:].strip()


def _metric(method: Method, metric: str | None) -> tuple[str, bool]:
    """Name and direction: of the claim about it, else as the step describes it."""
    known = method.stages["evaluate"][MAIN].resolve().metrics
    metric = metric or method.claims[0].metric
    if metric not in known:
        raise DeclarationError(
            [f"--metric {metric}: '{method.name}' yields no such metric{did_you_mean(metric, known)}"]
        )
    claimed = [claim.higher_is_better for claim in method.claims if claim.metric == metric]
    return metric, claimed[0] if claimed else "lower is better" not in known[metric]


def _value(content: dict[str, Any], key: str) -> Any:
    """What params.yaml says; None if it leaves the key out. Raises `DeclarationError` if there is no place for it."""
    return assign(copy.deepcopy(content), f"{key}=null")[2]


def _in_force(method: Method, key: str, value: Any) -> Any:
    """The step's own default where params.yaml leaves a parameter out."""
    stage, *name = key.removeprefix(f"methods.{method.name}.").split(".")
    if value is not None or stage not in method.stages or len(name) != 1:
        return value
    field = method.stages[stage][MAIN].resolve().parameters.model_fields.get(name[0])
    return None if field is None or field.is_required() else field.default


def _no_value_twice(content: dict[str, Any], grid: dict[str, list[str]]) -> None:
    scratch = copy.deepcopy(content)
    for key, texts in grid.items():
        values = [assign(scratch, f"{key}={text}")[3] for text in texts]
        for index, value in enumerate(values):
            if any(type(value) is type(other) and value == other for other in values[:index]):
                raise DeclarationError([f"--set {key}: {texts[index]} is written twice"])


def _checked(content: dict[str, Any], combinations: list[dict[str, str]]) -> list[dict[str, Any]]:
    """params.yaml of each combination; every mistake of all of them at once."""
    contents, mistakes = [], dict[str, None]()
    for combination in combinations:
        candidate = copy.deepcopy(content)
        try:
            for key, text in combination.items():
                assign(candidate, f"{key}={text}")
            validate(candidate)
        except DeclarationError as error:
            mistakes |= dict.fromkeys(error.mistakes)
        contents.append(candidate)
    if mistakes:
        raise DeclarationError(list(mistakes))
    return contents


def _every_key_counts(
    method: str, content: dict[str, Any], combinations: list[dict[str, str]], contents: list[dict[str, Any]]
) -> None:
    """Raise `DeclarationError` for a key whose values leave the method as it is, such as one that a profile overrides."""

    def declared(candidate: dict[str, Any]) -> Declaration:
        return validate(candidate, only=[method])

    for key in combinations[0]:
        tried = False
        for combination, candidate in zip(combinations, contents, strict=True):
            without = copy.deepcopy(content)
            for other, text in combination.items():
                if other != key:
                    assign(without, f"{other}={text}")
            if without == candidate:
                continue
            tried = True
            if declared(without) != declared(candidate):
                break
        else:
            if tried:
                raise DeclarationError([f"--set {key}: makes no difference to '{method}'{_why(content, key)}"])


def _why(content: dict[str, Any], key: str) -> str:
    profile = content["profile"]
    *parts, name = key.split(".")
    node: Any = content
    for part in parts:
        node = node[part]
    beside = node.get(profile)
    if isinstance(beside, dict) and name in beside:
        return f" in profile '{profile}', where {'.'.join([*parts, profile, name])} is in force: vary that"
    return ", which does not use it"


def _variant(
    method: str, name: str, labels: dict[str, str], written: dict[str, str], values: dict[str, Any]
) -> Variant:
    label = ", ".join(f"{labels[key]}={_text(value)}" for key, value in values.items())
    folder = name if name == CURRENT else f"{name}-{_slug(label)}"
    return Variant(folder, label, written, values, frozenset(_shared(method, values)))


def _shared(method: str, values: dict[str, Any]) -> Iterator[str]:
    """For every stage that a key changes: the values of the keys there and above."""
    ranks = {key: _rank(method, key) for key in values}
    for rank in sorted(set(ranks.values())):
        above = {key: value for key, value in values.items() if ranks[key] <= rank}
        yield json.dumps([rank, above], sort_keys=True, default=str)


def _rank(method: str, key: str) -> int:
    """The first stage of the method that a key can change; -1: the data set, the profile or the like."""
    parts = key.split(".")
    if parts[:2] == ["methods", method] and len(parts) > 2 and parts[2] in METHOD_STAGES:
        return METHOD_STAGES.index(parts[2])
    return -1


def _short(keys: list[str]) -> list[str]:
    """The keys' last words, as many as tell them apart."""
    for count in range(1, max(key.count(".") for key in keys) + 2):
        short = [".".join(key.split(".")[-count:]) for key in keys]
        if len(set(short)) == len(keys):
            return short
    return keys


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", text).strip("-")[:60]
