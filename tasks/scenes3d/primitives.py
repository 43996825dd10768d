"""Solids that a ray can hit: boxes, ellipsoids, cylinders, with a colour and a texture.

Metres, z up, right-handed. Shape legend: N rays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["box", "ellipsoid", "cylinder"]
Texture = Literal["plain", "stripe", "check", "noise"]
_TINY = 1e-12


def _unturned() -> np.ndarray:
    return np.eye(3)


@dataclass(frozen=True)
class Primitive:
    """`half`: half sizes (box), radii (ellipsoid), or (radius, -, half height) of a capped cylinder along z, [3].
    `rotation` [3, 3] and `centre` [3] bring local to world coordinates. `second`: the texture's other colour; `frequency`
    per metre. Ids: `cls` class, `obj` object, `part` within the object, `sub` hidden sub-type of the class."""

    kind: Kind
    half: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray = field(default_factory=_unturned)
    colour: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    second: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    texture: Texture = "plain"
    frequency: float = 1.0
    cls: int = 0
    obj: int = 0
    part: int = 0
    sub: int = 0


def hit(
    solid: Primitive, origins_N3: np.ndarray, directions_N3: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance [N] along unit rays (inf: miss), normal [N, 3] in the world facing the ray, and hit point [N, 3] in
    local coordinates (both of no meaning where missed)."""
    o, d = (origins_N3 - solid.centre) @ solid.rotation, directions_N3 @ solid.rotation
    with np.errstate(invalid="ignore", over="ignore"):
        if solid.kind == "box":
            t, normal = _hit_box(solid.half, o, d)
        elif solid.kind == "ellipsoid":
            t, normal = _hit_ellipsoid(solid.half, o, d)
        else:
            t, normal = _hit_cylinder(float(solid.half[0]), float(solid.half[2]), o, d)
    local = o + np.where(np.isfinite(t), t, 0)[:, None] * d
    away = (normal * d).sum(axis=1) > 0
    normal = np.where(away[:, None], -normal, normal)
    return t, normal @ solid.rotation.T, local


def colour_at(solid: Primitive, local_N3: np.ndarray) -> np.ndarray:
    """Colour [N, 3] of a solid's texture at local points."""
    scaled = solid.frequency * local_N3
    if solid.texture == "plain":
        first = np.ones(len(local_N3), dtype=bool)
    elif solid.texture == "stripe":
        first = np.sin(scaled.sum(axis=1)) > 0
    elif solid.texture == "check":
        first = np.floor(scaled / np.pi).astype(np.int64).sum(axis=1) % 2 == 0
    else:
        first = _hashed(np.floor(scaled).astype(np.int64)) >= 0.45
    return np.where(first[:, None], solid.colour, solid.second)


def _hit_box(half: np.ndarray, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    safe = np.where(np.abs(d) < _TINY, _TINY, d)
    a, b = (-half - o) / safe, (half - o) / safe
    near, far = np.minimum(a, b), np.maximum(a, b)
    enter, leave = near.max(axis=1), far.min(axis=1)
    inside = enter <= 0
    t = np.where((enter <= leave) & (leave > 0), np.where(inside, leave, enter), np.inf)
    axis = np.where(inside, far.argmin(axis=1), near.argmax(axis=1))
    normal = np.zeros_like(d)
    normal[np.arange(len(d)), axis] = 1
    return t, normal


def _hit_ellipsoid(radii: np.ndarray, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    oo, dd = o / radii, d / radii
    a, b, c = (dd**2).sum(axis=1), (oo * dd).sum(axis=1), (oo**2).sum(axis=1) - 1
    t = _smaller_positive_root(a, b, c)
    point = o + np.where(np.isfinite(t), t, 0)[:, None] * d
    normal = point / radii**2
    return t, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), _TINY)


def _hit_cylinder(radius: float, height: float, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = np.maximum((d[:, :2] ** 2).sum(axis=1), _TINY)
    b, c = (o[:, :2] * d[:, :2]).sum(axis=1), (o[:, :2] ** 2).sum(axis=1) - radius**2
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    best, normal = np.full(len(d), np.inf), np.zeros_like(d)
    for t in ((-b - root) / a, (-b + root) / a):
        point = o + t[:, None] * d
        good = (b**2 >= a * c) & (t > 0) & (np.abs(point[:, 2]) <= height) & (t < best)
        best = np.where(good, t, best)
        side = np.column_stack([point[:, :2] / radius, np.zeros(len(d))])
        normal = np.where(good[:, None], side, normal)
    safe = np.where(np.abs(d[:, 2]) < _TINY, _TINY, d[:, 2])
    for cap in (-height, height):
        t = (cap - o[:, 2]) / safe
        point = o + t[:, None] * d
        good = (t > 0) & ((point[:, :2] ** 2).sum(axis=1) <= radius**2) & (t < best)
        best = np.where(good, t, best)
        normal = np.where(good[:, None], np.array([0.0, 0.0, 1.0]), normal)
    return best, normal


def _smaller_positive_root(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Of a t^2 + 2 b t + c = 0; inf if there is none."""
    discriminant = b**2 - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    first, last = (-b - root) / a, (-b + root) / a
    t = np.where(first > 0, first, last)
    return np.where((discriminant >= 0) & (t > 0), t, np.inf)


def _hashed(cell_N3: np.ndarray) -> np.ndarray:
    """A number in 0..1 per integer cell, the same everywhere."""
    x, y, z = (cell_N3.astype(np.uint64) * np.array([73856093, 19349663, 83492791], dtype=np.uint64)).T
    mixed = x ^ y ^ z
    mixed = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(40)).astype(np.float64)) / 2**24
