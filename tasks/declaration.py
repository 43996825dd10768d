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

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

from tasks.steps import METHOD_STAGES, Step, UnknownStep, did_you_mean, find_step

PARAMS = Path("params.yaml")
PROFILES = ("small", "smoke", "full")
OVERRIDES = tuple(p for p in PROFILES if p != "small")
MAIN = "main"
_METHOD_KEYS = ("family", "paper", "data", "checkpoint", "seeds", *METHOD_STAGES, "claims", "sweeps")
_OPTIONAL_METHOD_KEYS = ("timeout_minutes",)
_CLAIM_KEYS = ("metric", "beats", "higher_is_better")


class DeclarationError(ValueError):
    """Mistakes in params.yaml, one per line, each with key and remedy."""

    def __init__(self, mistakes: list[str]):
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


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
    """`main` is better than arm `beats` in `metric`."""

    metric: str
    beats: str
    higher_is_better: bool


@dataclass(frozen=True)
class Sweep:
    """A figure: `metric` against one parameter across arms, one line per value of another."""

    metric: str
    against: str
    lines: str | None


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
    timeout_minutes: float

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

    def method(self, name: str) -> Method:
        """The method of that name; `DeclarationError` suggests the nearest one."""
        if name not in self.methods:
            raise DeclarationError([f"unknown method '{name}'{did_you_mean(name, self.methods)}"])
        return self.methods[name]


def read_yaml(path: Path = PARAMS) -> dict[str, Any]:
    """Parse params.yaml; syntax errors and duplicate keys raise `DeclarationError` with the line."""
    try:
        text = path.read_text()
    except OSError as error:
        raise DeclarationError([f"{path}: {error.strerror}; run in the folder that holds params.yaml"]) from error
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DeclarationError(
            [f"{path}:{line}: {str(error.problem).split(' with')[0]}; remove one of the two"]
        ) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DeclarationError([f"{path}:{line}: YAML syntax error: {error.problem or error.context}"]) from error
    if not isinstance(content, dict):
        raise DeclarationError([f"{path}: must be a mapping with profile, seeds, datasets, checkpoints, methods"])
    return content


def load_declaration(path: Path = PARAMS, only: list[str] | None = None) -> Declaration:
    """Validate params.yaml, or just the methods `only` with the data sets and checkpoints that they use."""
    return validate(read_yaml(path), str(path), only)


def validate(content: dict[str, Any], source: str = "params.yaml", only: list[str] | None = None) -> Declaration:
    """Turn parsed YAML into a `Declaration`; all mistakes are collected into one `DeclarationError`."""
    checker = _Checker(source)
    declaration = checker.declaration(content, only)
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


class _Checker:
    """Collects mistakes instead of stopping at the first one."""

    def __init__(self, source: str):
        self.source = source
        self.mistakes: list[str] = []

    def wrong(self, key: str, message: str) -> None:
        mistake = f"{self.source}: {key}: {message}"
        if mistake not in self.mistakes:  # every arm inherits the mistakes of its stage
            self.mistakes.append(mistake)

    def declaration(self, content: dict[str, Any], only: list[str] | None) -> Declaration:
        self._keys("(top level)", content, ("profile", "seeds", "datasets", "checkpoints", "methods"), ())
        profile, seeds = content.get("profile", "small"), content.get("seeds", [])
        if profile not in PROFILES:
            self.wrong("profile", f"unknown profile '{profile}'{did_you_mean(str(profile), PROFILES)}")
            profile = "small"
        if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
            self.wrong("seeds", f"must be a list of at least one integer >= 0, got {seeds!r}")
            seeds = [0]
        if len(set(seeds)) < len(seeds):
            self.wrong("seeds", f"every seed once, got {seeds!r}")
        result = Declaration(profile, seeds)
        sections = {}
        for section in ("datasets", "checkpoints", "methods"):
            sections[section] = content.get(section) or {}
            if not isinstance(sections[section], dict):
                self.wrong(section, "must be a mapping of names to entries")
                sections[section] = {}
        methods = sections["methods"]
        for name in only or []:
            if name not in methods:
                self.mistakes.append(f"unknown method '{name}'{did_you_mean(name, methods)}")
        chosen = {n: m for n, m in methods.items() if (only is None or n in only) and isinstance(m, dict)}
        for name, entry in methods.items():
            if not isinstance(entry, dict):
                self.wrong(f"methods.{name}", "must be a mapping")
        used_checkpoints = {m.get("checkpoint") for m in chosen.values()}
        for name, entry in sections["checkpoints"].items():
            if only is not None and name not in used_checkpoints:
                continue
            key = f"checkpoints.{name}"
            if not isinstance(entry, dict) or "data" not in entry:
                self.wrong(key, "must be a mapping with 'data' (a data set, or none) and 'step'")
                continue
            result.checkpoint_data[name] = entry["data"]
            if entry["data"] not in sections["datasets"]:
                self.wrong(
                    f"{key}.data",
                    f"unknown data set '{entry['data']}'{did_you_mean(str(entry['data']), sections['datasets'])}",
                )
            call = self._call(key, "checkpoint", {k: v for k, v in entry.items() if k != "data"}, profile)
            if call is not None:
                result.checkpoints[name] = call
        used_data = {m.get("data") for m in chosen.values()} | set(result.checkpoint_data.values())
        for name, entry in sections["datasets"].items():
            if only is None or name in used_data:
                call = self._call(f"datasets.{name}", "prepare", entry, profile)
                if call is not None:
                    result.datasets[name] = call
        for name, entry in chosen.items():
            method = self._method(name, entry, profile, seeds, sections)
            if method is not None:
                result.methods[name] = method
        return result

    def _keys(self, key: str, entry: dict, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        for name in required:
            if name not in entry:
                self.wrong(key, f"'{name}' is missing")
        for name in entry:
            if name not in required + optional:
                self.wrong(
                    f"{key}.{name}" if key[0] != "(" else str(name),
                    f"unknown key{did_you_mean(str(name), required + optional)}",
                )

    def _method(self, name: str, entry: dict, profile: str, seeds: list[int], sections: dict) -> Method | None:
        key, before = f"methods.{name}", len(self.mistakes)
        self._keys(key, entry, _METHOD_KEYS, _OPTIONAL_METHOD_KEYS)
        for field_name, section in (("data", "datasets"), ("checkpoint", "checkpoints")):
            value = entry.get(field_name)
            if field_name in entry and value not in sections[section]:
                self.wrong(
                    f"{key}.{field_name}", f"'{value}' is not in {section}{did_you_mean(str(value), sections[section])}"
                )
        stages: dict[str, dict[str, Call]] = {}
        arms: list[str] = []
        for stage in METHOD_STAGES:
            block = entry.get(stage)
            if block is None:
                continue  # _keys has said so
            stage_key = f"{key}.{stage}"
            own = block.get("arms", {}) if isinstance(block, dict) else {}
            if not isinstance(own, dict):
                self.wrong(f"{stage_key}.arms", "must be a mapping of arm names to overrides")
                own = {}
            if MAIN in own:
                self.wrong(f"{stage_key}.arms", f"'{MAIN}' is the method itself; choose another name")
            arms += [arm for arm in own if arm not in arms and arm != MAIN]
            stages[stage] = {}
            for arm in [MAIN, *arms]:
                call = self._call(stage_key, stage, block, profile, arm if arm in own else None)
                if call is not None:
                    stages[stage][arm] = call
        chosen_seeds = self._seeds(f"{key}.seeds", entry.get("seeds"), profile, seeds)
        claims = self._claims(key, entry.get("claims"), arms, stages)
        sweeps = self._sweeps(key, entry.get("sweeps", []), stages)
        timeout = entry.get("timeout_minutes", 60)
        if not isinstance(timeout, (int, float)) or timeout <= 0:
            self.wrong(f"{key}.timeout_minutes", f"must be a positive number of minutes per stage, got {timeout!r}")
        if len(self.mistakes) > before:
            return None
        return Method(
            name, entry["family"], entry["paper"], entry["data"], entry["checkpoint"], chosen_seeds, stages, claims, sweeps, timeout
        )  # fmt: skip

    def _call(self, key: str, stage: str, block: Any, profile: str, arm: str | None = None) -> Call | None:
        """The step and parameters in force, or None after noting what is wrong with them."""
        if not isinstance(block, dict) or "step" not in block:
            self.wrong(key, "must be a mapping with a 'step'")
            return None
        base = {k: v for k, v in block.items() if k not in ("arms", *OVERRIDES)}
        layers = [(key, base), *self._profile_layer(key, block, profile)]
        if arm is not None:
            override = block["arms"][arm]
            arm_key = f"{key}.arms.{arm}"
            if not isinstance(override, dict):
                self.wrong(arm_key, "must be a mapping of overrides")
                return None
            layers.append((arm_key, {k: v for k, v in override.items() if k not in OVERRIDES}))
            layers += self._profile_layer(arm_key, override, profile)
        name, parameters = None, {}
        for layer_key, layer in layers:
            written = {k: v for k, v in layer.items() if k != "step"}
            new_name = layer.get("step", name)
            try:
                step = find_step(stage, new_name)
            except UnknownStep as error:
                self.wrong(f"{layer_key}.step", str(error))
                return None
            unknown = [k for k in written if k not in step.accepts()]
            for k in unknown:
                self.wrong(
                    f"{layer_key}.{k}", f"step '{new_name}' has no parameter '{k}'{did_you_mean(k, step.accepts())}"
                )
            if unknown:
                return None
            if new_name != name:
                parameters = {k: v for k, v in parameters.items() if k in step.accepts()}
            name, parameters = new_name, merge(parameters, written)
        assert name is not None
        step = find_step(stage, name)
        try:
            step.parameters.model_validate(parameters)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                self._problem(layers[-1][0], name, step, problem)
            return None
        return Call(stage, name, parameters)

    def _profile_layer(self, key: str, block: dict, profile: str) -> list[tuple[str, dict]]:
        for name in OVERRIDES:
            if name in block and not isinstance(block[name], dict):
                self.wrong(f"{key}.{name}", "must be a mapping of overrides")
                return []
        return [(f"{key}.{profile}", block[profile])] if profile != "small" and profile in block else []

    def _problem(self, key: str, name: str, step: Step, problem: Any) -> None:
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            self.wrong(key, f"step '{name}' needs the parameter '{where}'")
        elif problem["type"] == "extra_forbidden":
            known = _known_at(step.parameters, problem["loc"][:-1])
            self.wrong(f"{key}.{where}", f"unknown parameter{did_you_mean(str(problem['loc'][-1]), known)}")
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            self.wrong(f"{key}.{where}", f"{message}, got {problem['input']!r}")

    def _seeds(self, key: str, entry: Any, profile: str, seeds: list[int]) -> list[int]:
        if entry is None:
            return seeds
        if not isinstance(entry, dict) or set(entry) - {"at_most", *OVERRIDES}:
            self.wrong(key, "must be {at_most: N} with optional smoke: {at_most: N}, full: {at_most: N}")
            return seeds
        value = merge({"at_most": entry.get("at_most")}, entry.get(profile, {}) if profile != "small" else {})[
            "at_most"
        ]
        if type(value) is not int or value < 1:
            self.wrong(f"{key}.at_most", f"must be an integer >= 1, got {value!r}")
            return seeds
        return seeds[:value]

    def _claims(self, key: str, claims: Any, arms: list[str], stages: dict[str, dict[str, Call]]) -> list[Claim]:
        if claims is None or MAIN not in stages.get("evaluate", {}):
            return []
        if not isinstance(claims, list) or not claims:
            self.wrong(f"{key}.claims", "must be a list of at least one {metric, beats, higher_is_better}")
            return []
        result = []
        metrics = stages["evaluate"][MAIN].resolve().metrics
        for index, claim in enumerate(claims):
            claim_key = f"{key}.claims.{index}"
            if not isinstance(claim, dict):
                self.wrong(claim_key, "must be {metric, beats, higher_is_better}")
                continue
            self._keys(claim_key, claim, _CLAIM_KEYS, ())
            metric, beats = claim.get("metric"), claim.get("beats")
            if "metric" in claim and metric not in metrics:
                self.wrong(
                    f"{claim_key}.metric",
                    f"'{stages['evaluate'][MAIN].step}' yields no metric '{metric}'{did_you_mean(str(metric), metrics)}",
                )
            if "beats" in claim and beats not in arms:
                self.wrong(f"{claim_key}.beats", f"no arm '{beats}'{did_you_mean(str(beats), arms)}")
            if set(claim) == set(_CLAIM_KEYS):
                result.append(Claim(metric, beats, claim["higher_is_better"]))
        return result

    def _sweeps(self, key: str, sweeps: Any, stages: dict[str, dict[str, Call]]) -> list[Sweep]:
        if not isinstance(sweeps, list):
            self.wrong(f"{key}.sweeps", "must be a list of {metric, against, lines}")
            return []
        result = []
        for index, sweep in enumerate(sweeps):
            sweep_key = f"{key}.sweeps.{index}"
            if not isinstance(sweep, dict):
                self.wrong(sweep_key, "must be {metric, against, lines}")
                continue
            self._keys(sweep_key, sweep, ("metric", "against"), ("lines",))
            for name in ("against", "lines"):
                value = sweep.get(name)
                if value is not None and parameter_at(stages, MAIN, value) is None:
                    self.wrong(f"{sweep_key}.{name}", f"'{value}' is no parameter in force (write stage.parameter)")
            if "metric" in sweep and "against" in sweep:
                result.append(Sweep(sweep["metric"], sweep["against"], sweep.get("lines")))
        return result


def parameter_at(stages: dict[str, dict[str, Call]], arm: str, dotted: str) -> Any:
    """Value of `stage.parameter[.nested]` for an arm, or None if there is no such parameter."""
    stage, *path = str(dotted).split(".")
    calls = stages.get(stage, {})
    call = calls.get(arm, calls.get(MAIN))
    value: Any = call.parameters if call is not None else None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _known_at(model: Any, path: tuple) -> list[str]:
    """Field names of the nested group at `path`, for suggestions."""
    for part in path:
        model_field = getattr(model, "model_fields", {}).get(part)
        if model_field is None:
            return []
        candidates = [model_field.annotation, *getattr(model_field.annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))
