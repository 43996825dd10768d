"""Furnished rooms as lists of solids.

Room centred at the origin, floor at z = 0; metres. Every object has a class, an id and a hidden sub-type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.scenes3d.primitives import Kind, Primitive, Texture

CLASSES = ("floor", "wall", "table", "chair", "bed", "cabinet", "lamp", "plant")
HEIGHT = 2.6
_THICK = 0.05
_TRIES = 60


@dataclass(frozen=True)
class _Look:
    """Colour(s) by sub-type, their spread per object, texture, its frequency, and second colour / first colour."""

    colours: tuple[tuple[float, float, float], ...]
    spread: float
    texture: Texture
    frequency: float
    second: float


_LOOKS = {
    "floor": _Look(((0.5, 0.35, 0.22),), 0.05, "stripe", 9, 0.7),
    "wall": _Look(((0.82, 0.8, 0.74),), 0.05, "noise", 4, 0.9),
    "table": _Look(((0.7, 0.55, 0.35),), 0.08, "stripe", 16, 0.8),
    "chair": _Look(((0.75, 0.2, 0.2), (0.2, 0.25, 0.7)), 0.08, "check", 30, 0.6),
    "bed": _Look(((0.55, 0.65, 0.8),), 0.08, "noise", 14, 0.8),
    "cabinet": _Look(((0.4, 0.28, 0.2),), 0.08, "check", 7, 0.75),
    "lamp": _Look(((0.95, 0.85, 0.4),), 0.04, "plain", 1, 1.0),
    "plant": _Look(((0.2, 0.6, 0.25),), 0.08, "noise", 25, 0.5),
}
# Name, fewest and most, radius of the footprint, distance of the centre from the wall it stands against (None: free).
_FURNITURE = (
    ("bed", 1, 2, 0.95, 0.92),
    ("cabinet", 1, 2, 0.5, 0.27),
    ("table", 1, 2, 0.65, None),
    ("chair", 2, 4, 0.34, None),
    ("lamp", 1, 2, 0.25, None),
    ("plant", 1, 2, 0.28, None),
)
_SUBTYPES = {"table": 2, "chair": 2, "cabinet": 2}
_Part = tuple[Kind, tuple[float, float, float], tuple[float, float, float]]


def furnished_room(rng: np.random.Generator) -> tuple[list[Primitive], float, float]:
    """Solids of one room, and its width (x) and depth (y)."""
    width, depth = rng.uniform(3.6, 5.4, 2)
    solids = _shell(width, depth, rng)
    taken: list[tuple[float, float, float]] = []
    obj = 2
    for name, fewest, most, radius, to_wall in _FURNITURE:
        for _ in range(rng.integers(fewest, most + 1)):
            place = _place(width, depth, radius, to_wall, taken, rng)
            sub = int(rng.integers(_SUBTYPES[name])) if name in _SUBTYPES else 0
            if place is None:
                continue
            x, y, yaw = place
            taken.append((x, y, radius))
            solids += _assembled(name, sub, obj, (x, y), yaw, rng)
            obj += 1
    return solids, width, depth


def parts_of(name: str, sub: int) -> list[_Part]:
    """Parts of a piece of furniture: kind, half sizes, centre; standing on z = 0, its back at negative x."""
    if name == "table" and sub == 0:
        legs: list[_Part] = [("box", (0.03, 0.03, 0.36), (x, y, 0.36)) for x in (-0.5, 0.5) for y in (-0.3, 0.3)]
        return [("box", (0.55, 0.35, 0.025), (0, 0, 0.74)), *legs]
    if name == "table":
        return [("cylinder", (0.45, 0.45, 0.025), (0, 0, 0.74)), ("cylinder", (0.05, 0.05, 0.36), (0, 0, 0.36))]
    if name == "chair" and sub == 0:
        legs = [("box", (0.02, 0.02, 0.21), (x, y, 0.21)) for x in (-0.18, 0.18) for y in (-0.18, 0.18)]
        return [("box", (0.21, 0.21, 0.03), (0, 0, 0.45)), ("box", (0.02, 0.21, 0.22), (-0.19, 0, 0.7)), *legs]
    if name == "chair":
        return [("cylinder", (0.21, 0.21, 0.04), (0, 0, 0.46)), ("cylinder", (0.04, 0.04, 0.21), (0, 0, 0.21))]
    if name == "bed":
        return [("box", (0.9, 0.6, 0.22), (0, 0, 0.22)), ("box", (0.15, 0.4, 0.07), (-0.7, 0, 0.51))]
    if name == "cabinet":
        high = 0.95 if sub else 0.45
        return [("box", (0.25, 0.42, high), (0, 0, high))]
    if name == "lamp":
        return [
            ("cylinder", (0.02, 0.02, 0.7), (0, 0, 0.7)),
            ("cylinder", (0.2, 0.2, 0.16), (0, 0, 1.5)),
            ("cylinder", (0.15, 0.15, 0.02), (0, 0, 0.02)),
        ]
    return [("cylinder", (0.15, 0.15, 0.17), (0, 0, 0.17)), ("ellipsoid", (0.24, 0.24, 0.36), (0, 0, 0.65))]


def _shell(width: float, depth: float, rng: np.random.Generator) -> list[Primitive]:
    floor, wall = _paint("floor", 0, rng), _paint("wall", 0, rng)
    w, d, h = width / 2, depth / 2, HEIGHT / 2
    slabs = [
        ("floor", (w + 2 * _THICK, d + 2 * _THICK, _THICK), (0.0, 0.0, -_THICK)),
        ("wall", (_THICK, d + 2 * _THICK, h), (-w - _THICK, 0.0, h)),
        ("wall", (_THICK, d + 2 * _THICK, h), (w + _THICK, 0.0, h)),
        ("wall", (w, _THICK, h), (0.0, -d - _THICK, h)),
        ("wall", (w, _THICK, h), (0.0, d + _THICK, h)),
    ]
    return [
        _solid(name, 0, "box", half, np.array(centre), np.eye(3), floor if name == "floor" else wall, obj, part)
        for part, (name, half, centre) in enumerate(slabs)
        for obj in [0 if name == "floor" else 1]
    ]


def _assembled(
    name: str, sub: int, obj: int, at: tuple[float, float], yaw: float, rng: np.random.Generator
) -> list[Primitive]:
    cos, sin = round(np.cos(yaw)), round(np.sin(yaw))  # multiples of 90 degrees
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float64)
    colour = _paint(name, sub, rng)
    return [
        _solid(name, sub, kind, half, turn @ np.array(centre) + [*at, 0], turn, colour, obj, part)
        for part, (kind, half, centre) in enumerate(parts_of(name, sub))
    ]


def _paint(name: str, sub: int, rng: np.random.Generator) -> np.ndarray:
    look = _LOOKS[name]
    base = look.colours[min(sub, len(look.colours) - 1)]
    return np.clip(np.array(base) + rng.normal(0, look.spread, 3), 0.05, 0.95)


def _solid(
    name: str,
    sub: int,
    kind: Kind,
    half: tuple[float, float, float],
    centre: np.ndarray,
    turn: np.ndarray,
    colour: np.ndarray,
    obj: int,
    part: int,
) -> Primitive:
    look = _LOOKS[name]
    return Primitive(
        kind, np.array(half), centre, turn, colour, look.second * colour, look.texture, look.frequency,
        CLASSES.index(name), obj, part, sub,
    )  # fmt: skip


def _place(
    width: float,
    depth: float,
    radius: float,
    to_wall: float | None,
    taken: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> tuple[float, float, float] | None:
    """(x, y, yaw) of a free circle; against a wall the back (negative x) points to it. None after 60 tries."""
    for _ in range(_TRIES):
        side = int(rng.integers(4))
        yaw = side * np.pi / 2
        if to_wall is None:
            x = rng.uniform(-width / 2 + radius, width / 2 - radius)
            y = rng.uniform(-depth / 2 + radius, depth / 2 - radius)
        elif side % 2 == 0:  # the walls at -x (yaw 0) and +x (yaw 180 degrees)
            x = (to_wall - width / 2) * (1 if side == 0 else -1)
            y = rng.uniform(-depth / 2 + radius, depth / 2 - radius)
        else:
            x = rng.uniform(-width / 2 + radius, width / 2 - radius)
            y = (to_wall - depth / 2) * (1 if side == 1 else -1)
        if all(np.hypot(x - a, y - b) >= radius + r for a, b, r in taken):
            return float(x), float(y), yaw
    return None
