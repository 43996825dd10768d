"""The checks behind `tasks.declaration`: every mistake in params.yaml, each with its key and remedy."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from tasks.declaration import (
    OVERRIDES,
    SECTIONS,
    Call,
    Claim,
    Declaration,
    Method,
    Resources,
    Sweep,
    merge,
    parameter_at,
)
from tasks.params import MAIN, METHOD_STAGES, PROFILES
from tasks.steps import Step, UnknownStep, did_you_mean, find_step

_NAME = re.compile(r"[a-z0-9_]+")  # names become folders
_RESERVED = ("data", "checkpoint")  # folders beside the methods' own in artifacts/
_RESERVED_ARM = "summary"  # the folder beside the arms' own in evaluate/
_METHOD_KEYS = ("family", "paper", "data", "checkpoint", "seeds", *METHOD_STAGES, "claims", "sweeps")
_CLAIM_KEYS = ("metric", "beats", "higher_is_better")


class Checker:
    """Collects mistakes instead of stopping at the first one."""

    def __init__(self, source: str):
        self.source = source
        self.mistakes: list[str] = []

    def wrong(self, key: str, message: str) -> None:
        mistake = f"{self.source}: {key}: {message}"
        if mistake not in self.mistakes:  # every arm inherits the mistakes of its stage
            self.mistakes.append(mistake)

    def declaration(self, content: dict[str, Any], wanted: dict[str, set[str]] | None) -> Declaration:
        """Check everything, or the `wanted` names of each section."""
        self._keys("", content, ("profile", "seeds", *SECTIONS), ("resources",))
        result = Declaration(self._profile(content.get("profile")), self._all_seeds(content.get("seeds")))
        sections = {section: self._section(section, content.get(section)) for section in SECTIONS}

        def chosen(section: str) -> dict[str, dict]:
            return {n: e for n, e in sections[section].items() if wanted is None or n in wanted[section]}

        for name, entry in chosen("datasets").items():
            call = self._call(f"datasets.{name}", "prepare", entry, result.profile)
            if call is not None:
                result.datasets[name] = call
        for name, entry in chosen("checkpoints").items():
            data = entry.get("data")
            if not isinstance(data, str) or data not in sections["datasets"]:
                self.wrong(
                    f"checkpoints.{name}.data",
                    f"'{data}' is not in datasets{did_you_mean(str(data), sections['datasets'])}",
                )
            rest = {k: v for k, v in entry.items() if k != "data"}
            call = self._call(f"checkpoints.{name}", "checkpoint", rest, result.profile)
            if call is not None:
                result.checkpoints[name], result.checkpoint_data[name] = call, str(data)
        for name, entry in chosen("methods").items():
            method = self._method(name, entry, result.profile, result.seeds, sections)
            if method is not None:
                result.methods[name] = method
        result.resources = self._resources(content.get("resources", {}), sections)
        return result

    def _resources(self, entries: Any, sections: dict[str, dict[str, dict]]) -> dict[str, Resources]:
        if not isinstance(entries, dict):
            self.wrong("resources", "must be a mapping of stages, as self_train@METHOD, or default")
            return {}
        stages = [f"{stage}@{method}" for method in sections["methods"] for stage in METHOD_STAGES]
        stages += [f"prepare@{name}" for name in sections["datasets"]]
        stages += [f"checkpoint@{name}" for name in sections["checkpoints"]]
        result = {}
        for name, entry in entries.items():
            key = f"resources.{name}"
            if name not in ("default", *stages):
                self.wrong(key, f"no such stage{did_you_mean(str(name), ['default', *stages])}")
            elif not isinstance(entry, dict):
                self.wrong(key, "must be {timeout_minutes: N, memory_gib: N}")
            else:
                self._keys(key, entry, (), ("timeout_minutes", "memory_gib"))
                wrong = {k: v for k, v in entry.items() if not _is_number(v) or v <= 0}
                for field_name, value in wrong.items():
                    self.wrong(f"{key}.{field_name}", f"must be a number above 0, got {value!r}")
                if not wrong and set(entry) <= {"timeout_minutes", "memory_gib"}:
                    result[name] = Resources(**entry)
        return result

    def _profile(self, value: Any) -> str:
        if value in PROFILES:
            return value
        if value is not None:
            self.wrong("profile", f"unknown profile '{value}'{did_you_mean(str(value), PROFILES)}")
        return PROFILES[0]

    def _all_seeds(self, value: Any) -> list[int]:
        if not isinstance(value, list) or not value or not all(type(s) is int and s >= 0 for s in value):
            self.wrong("seeds", f"must be a list of at least one integer >= 0, got {value!r}")
            return [0]
        if len(set(value)) < len(value):
            self.wrong("seeds", f"every seed once, got {value!r}")
        return value

    def _section(self, section: str, entries: Any) -> dict[str, dict]:
        """The entries of a section whose names can be folder names and which are mappings."""
        if not isinstance(entries, dict):
            self.wrong(section, "must be a mapping of names to entries")
            return {}
        sound = {}
        for name, entry in entries.items():
            if not _is_name(name) or (section == "methods" and name in _RESERVED):
                self.wrong(
                    f"{section}.{name}", "names are lower-case letters, digits and _, and not data or checkpoint"
                )
            elif not isinstance(entry, dict):
                self.wrong(f"{section}.{name}", "must be a mapping")
            else:
                sound[name] = entry
        return sound

    def _keys(self, key: str, entry: dict, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        for name in required:
            if name not in entry:
                self.wrong(key or "(top level)", f"'{name}' is missing")
        for name in entry:
            if name not in required + optional:
                self.wrong(
                    f"{key}.{name}" if key else str(name),
                    f"unknown key{did_you_mean(str(name), required + optional)}",
                )

    def _method(self, name: str, entry: dict, profile: str, seeds: list[int], sections: dict) -> Method | None:
        key, before = f"methods.{name}", len(self.mistakes)
        self._keys(key, entry, _METHOD_KEYS, ())
        for field_name, section in (("data", "datasets"), ("checkpoint", "checkpoints")):
            value = entry.get(field_name)
            if field_name in entry and not (isinstance(value, str) and value in sections[section]):
                self.wrong(
                    f"{key}.{field_name}", f"'{value}' is not in {section}{did_you_mean(str(value), sections[section])}"
                )
        paper = entry.get("paper")
        if "paper" in entry and not (isinstance(paper, dict) and {"title", "venue"} <= set(paper)):
            self.wrong(f"{key}.paper", "must be a mapping with title and venue")
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
            for arm in own:
                if not _is_name(arm) or arm == _RESERVED_ARM:
                    self.wrong(
                        f"{stage_key}.arms.{arm}",
                        f"names are lower-case letters, digits and _, and not {_RESERVED_ARM}",
                    )
            arms += [arm for arm in own if arm not in arms and arm != MAIN]
            stages[stage] = {}
            for arm in [MAIN, *arms]:
                call = self._call(stage_key, stage, block, profile, arm if arm in own else None)
                if call is not None:
                    stages[stage][arm] = call
        chosen_seeds = self._seeds(f"{key}.seeds", entry.get("seeds"), profile, seeds)
        claims = self._claims(key, entry.get("claims"), arms, stages)
        sweeps = self._sweeps(key, entry.get("sweeps", []), stages)
        if len(self.mistakes) > before:
            return None
        return Method(
            name, entry["family"], entry["paper"], entry["data"], entry["checkpoint"], chosen_seeds, stages, claims, sweeps
        )  # fmt: skip

    def _call(self, key: str, stage: str, block: Any, profile: str, arm: str | None = None) -> Call | None:
        """The step and parameters in force, or None after noting what is wrong with them, where it is written."""
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
            if not isinstance(new_name, str):
                self.wrong(f"{layer_key}.step", f"must be the name of a step, got {new_name!r}")
                return None
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
                written_in = [layer_key for layer_key, layer in layers if problem["loc"][0] in layer]
                named_in = [layer_key for layer_key, layer in layers if "step" in layer]
                self._problem((written_in or named_in)[-1], name, step, problem)
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
        if not (isinstance(entry, dict) and set(entry) <= {"at_most", *OVERRIDES}) or not all(
            isinstance(entry.get(name, {}), dict) for name in OVERRIDES
        ):
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
            self.wrong(f"{key}.claims", "must be a list of at least one {metric, beats, higher_is_better, arm}")
            return []
        result = []
        for index, claim in enumerate(claims):
            claim_key = f"{key}.claims.{index}"
            if not isinstance(claim, dict):
                self.wrong(claim_key, "must be {metric, beats, higher_is_better, arm}")
                continue
            self._keys(claim_key, claim, _CLAIM_KEYS, ("arm",))
            metric, beats, higher = (claim.get(key) for key in _CLAIM_KEYS)
            arm = claim.get("arm", MAIN)
            self._metric(claim_key, claim, stages["evaluate"][MAIN])
            for role, name in (("beats", claim.get("beats", MAIN)), ("arm", arm)):
                if name not in (MAIN, *arms):
                    self.wrong(f"{claim_key}.{role}", f"no arm '{name}'{did_you_mean(str(name), [MAIN, *arms])}")
            if beats == arm:
                self.wrong(f"{claim_key}.beats", f"arm '{arm}' cannot beat itself")
            if "higher_is_better" in claim and not isinstance(higher, bool):
                self.wrong(f"{claim_key}.higher_is_better", f"must be true or false, got {higher!r}")
            if set(claim) - {"arm"} == set(_CLAIM_KEYS):
                result.append(Claim(str(metric), str(beats), bool(higher), str(arm)))
        return result

    def _metric(self, key: str, entry: dict, evaluation: Call) -> None:
        metric, known = entry.get("metric"), evaluation.resolve().metrics
        if "metric" in entry and metric not in list(known):
            self.wrong(
                f"{key}.metric", f"'{evaluation.step}' yields no metric '{metric}'{did_you_mean(str(metric), known)}"
            )

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
            if MAIN in stages.get("evaluate", {}):
                self._metric(sweep_key, sweep, stages["evaluate"][MAIN])
            for name in ("against", "lines"):
                value = sweep.get(name)
                stage = str(value).split(".")[0]
                if stage in stages and MAIN not in stages[stage]:
                    continue  # what is wrong with the stage has been said
                if value is not None and parameter_at(stages, MAIN, value) is None:
                    self.wrong(f"{sweep_key}.{name}", f"'{value}' is no parameter in force (write stage.parameter)")
            if "metric" in sweep and "against" in sweep:
                result.append(Sweep(sweep["metric"], sweep["against"], sweep.get("lines")))
        return result


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _known_at(model: Any, path: tuple) -> list[str]:
    """Field names of the nested group at `path`, for suggestions."""
    for part in path:
        model_field = getattr(model, "model_fields", {}).get(part)
        if model_field is None:
            return []
        candidates = [model_field.annotation, *getattr(model_field.annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))
