"""What counts as the class of an object: one factor, a combination of factors, or merged values of one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Factor = Literal["shape", "color", "texture"]
Kind = tuple[str, str, str]  # shape, color, texture
_ORDER: tuple[Factor, ...] = ("shape", "color", "texture")


class CombinedLabel(BaseModel):
    """Classes are `n_classes` combinations of the factors `combine`, drawn by the seed; no other objects occur.

    `nonsense_names`: each class is called by an invented word. `unseen`: so many classes, the last ones, never occur in
    train; every value of a factor occurs among the others. `share_attributes`: in half of the scenes of several
    objects, the second has exactly so many of its three attributes in common with the first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    combine: Annotated[list[Factor], Field(min_length=1, max_length=3)]
    n_classes: Annotated[int, Field(ge=2)]
    nonsense_names: bool = True
    unseen: Annotated[int, Field(ge=0)] = 0
    share_attributes: Annotated[int, Field(ge=0, le=2)] | None = None


class MergedLabel(BaseModel):
    """Classes are `groups` of values of the factor `merge`, each value in one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    merge: Factor
    groups: Annotated[list[Annotated[list[str], Field(min_length=1)]], Field(min_length=2)]


Label = Literal["shape", "color", "texture", "shape_color"] | CombinedLabel | MergedLabel


@dataclass(frozen=True)
class Classes:
    """Names, the attributes behind them, the class of each kind of object, and which classes train may hold."""

    names: list[str]
    attributes: list[str]
    seen: list[bool]
    of_kind: dict[Kind, int]

    @property
    def kinds(self) -> list[Kind]:
        """All kinds of objects that may occur, in a fixed order."""
        return list(self.of_kind)


def classes_of(label: Label, values: dict[Factor, list[str]], rng: np.random.Generator) -> Classes:
    """The classes that `label` makes of objects with these `values` of each factor.

    Raises ValueError naming `label`: more classes than combinations, values left out of `groups`, no way to keep
    every value among the seen classes.
    """
    kinds: list[Kind] = [(s, c, t) for s, c, t in product(*(values[factor] for factor in _ORDER))]
    if isinstance(label, CombinedLabel):
        return _combined(label, values, kinds, rng)
    if isinstance(label, MergedLabel):
        position = _ORDER.index(label.merge)
        members = [value for group in label.groups for value in group]
        if sorted(members) != sorted(values[label.merge]):
            raise ValueError(f"label: groups {label.groups} must hold every {label.merge} of the data set once")
        group_of = {value: g for g, group in enumerate(label.groups) for value in group}
        names = [" or ".join(group) for group in label.groups]
        return Classes(names, names, [True] * len(names), {kind: group_of[kind[position]] for kind in kinds})
    if label == "shape_color":
        names = [f"{color} {shape}" for shape, color in product(values["shape"], values["color"])]
        number = {name: i for i, name in enumerate(names)}
        return Classes(names, names, [True] * len(names), {k: number[f"{k[1]} {k[0]}"] for k in kinds})
    position, names = _ORDER.index(label), values[label]
    return Classes(list(names), list(names), [True] * len(names), {kind: names.index(kind[position]) for kind in kinds})


def matches(kind: Kind, pattern: list[str]) -> bool:
    """Whether a kind of object fits a (shape, color, texture) pattern; `*` fits everything."""
    return all(want in ("*", value) for want, value in zip(pattern, kind, strict=True))


def shared(a: Kind, b: Kind) -> int:
    """How many attributes two kinds have in common."""
    return sum(x == y for x, y in zip(a, b, strict=True))


def _combined(
    label: CombinedLabel, values: dict[Factor, list[str]], kinds: list[Kind], rng: np.random.Generator
) -> Classes:
    factors: list[Factor] = [factor for factor in _ORDER if factor in label.combine]
    combinations = list(product(*(values[factor] for factor in factors)))
    if label.n_classes > len(combinations):
        raise ValueError(f"label: n_classes {label.n_classes} of {len(combinations)} combinations")
    if label.unseen >= label.n_classes:
        raise ValueError(f"label: unseen {label.unseen} leaves no seen class of {label.n_classes}")
    seen = label.n_classes - label.unseen
    for _ in range(1000):
        chosen = [combinations[i] for i in rng.permutation(len(combinations))[: label.n_classes]]
        if all({c[i] for c in chosen[:seen]} >= {c[i] for c in chosen} for i in range(len(factors))):
            break
    else:
        raise ValueError(f"label: {seen} seen classes cannot show every value; lower 'unseen' or raise 'n_classes'")
    attributes = [" ".join(combination) for combination in chosen]
    names = _nonsense(label.n_classes, rng) if label.nonsense_names else attributes
    number = {combination: i for i, combination in enumerate(chosen)}
    positions = [_ORDER.index(factor) for factor in factors]
    of_kind = {k: number[own] for k in kinds if (own := tuple(k[p] for p in positions)) in number}
    return Classes(names, attributes, [i < seen for i in range(label.n_classes)], of_kind)


def _nonsense(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct words of two consonant-vowel syllables, of which none is a word of the captions."""
    syllables = [c + v for c in "bdfgjklmnprtvwz" for v in "aeiou"]
    words = [first + second for first, second in product(syllables, syllables)]
    return [words[i] for i in rng.permutation(len(words))[:count]]
