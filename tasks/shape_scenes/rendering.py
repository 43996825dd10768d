"""Pixels of a scene: shapes with textures on a background, in one of several visual domains.

Shape legend: S side of the supersampled grid, H side of the image, K objects.
Coordinates: x and y in [-1, 1], y grows downwards; (u, v) are an object's own, in units of its radius.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

Domain = Literal["clean", "sketch", "pale", "noisy", "inverted"]

RGB = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.65, 0.2),
    "blue": (0.15, 0.3, 0.85),
    "yellow": (0.95, 0.8, 0.1),
    "purple": (0.55, 0.2, 0.7),
    "orange": (0.95, 0.5, 0.1),
}
_SECOND_TONE = 0.45
_OUTLINE = 1.5  # pixels, domain sketch
_SATURATION = 0.4  # domain sketch
_PALE = 0.6  # share of background in an object's colour, domain pale
_NOISY = 0.15  # standard deviation, domain noisy
_POINT = 2 * np.pi / 5  # angle between two points of a star


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, its centre, radius and rotation (radians), and the gain of its colour."""

    shape: str
    color: str
    texture: str
    cx: float
    cy: float
    r: float
    rotation: float
    gain: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


def render(
    objects: list[SceneObject],
    background: str,
    domain: Domain,
    image_size: int,
    supersample: int,
    noise: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, H, 3] and instance mask int16 [H, H] (0, or the number of the object from 1).

    Later objects hide earlier ones. A pixel belongs to the object that covers most of it, if that is half or more.
    """
    side = image_size * supersample
    x_SS, y_SS = _grid(side)
    scene_SS3 = np.repeat(_background(background, x_SS, y_SS, rng)[..., None], 3, axis=2)
    behind_SS3 = scene_SS3.copy()
    if domain == "sketch":
        scene_SS3[:] = 1.0
    owner_SS = np.zeros((side, side), dtype=np.int16)
    for number, thing in enumerate(objects, start=1):
        u, v = own_coordinates(thing, x_SS, y_SS)
        inside = inside_shape(thing.shape, u, v)
        owner_SS[inside] = number
        toned = inside & second_tone(thing.texture, u, v)
        color = np.clip(thing.gain * np.array(RGB[thing.color]), 0, 1)
        tone = _SECOND_TONE * color
        if domain == "sketch":
            scene_SS3[inside] = 1.0
            scene_SS3[toned] = _washed(tone)
            scene_SS3[inside & (np.asarray(distance_transform_edt(inside)) <= _OUTLINE * supersample)] = _washed(color)
        elif domain == "pale":
            scene_SS3[inside] = (1 - _PALE) * color + _PALE * behind_SS3[inside]
            scene_SS3[toned] = (1 - _PALE) * tone + _PALE * behind_SS3[toned]
        else:
            scene_SS3[inside] = color
            scene_SS3[toned] = tone
    image_HH3 = _box_mean(scene_SS3, supersample)
    if domain == "inverted":
        image_HH3 = 1 - image_HH3
    image_HH3 = image_HH3 + rng.normal(0, noise, image_HH3.shape)
    if domain == "noisy":
        image_HH3 = image_HH3 + rng.normal(0, _NOISY, image_HH3.shape)
    pixels = np.rint(255 * np.clip(image_HH3, 0, 1)).astype(np.uint8)
    return pixels, _instances(owner_SS, len(objects), supersample)


def own_coordinates(thing: SceneObject, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(u, v): moved to the object's centre, turned back by its rotation, divided by its radius."""
    dx, dy = (x - thing.cx) / thing.r, (y - thing.cy) / thing.r
    cos, sin = np.cos(thing.rotation), np.sin(thing.rotation)
    return cos * dx + sin * dy, cos * dy - sin * dx


def inside_shape(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Boolean: whether points in an object's own coordinates belong to it."""
    if shape == "circle":
        return u**2 + v**2 <= 1
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.86
    if shape == "triangle":
        return (np.abs(v) <= 0.8) & (np.abs(u) <= 0.95 * (v + 0.8) / 1.6)
    if shape == "cross":
        across, along = np.abs(u), np.abs(v)
        return ((across <= 0.34) & (along <= 1)) | ((along <= 0.34) & (across <= 1))
    rho = np.hypot(u, v)
    if shape == "ring":
        return (rho >= 0.55) & (rho <= 1)
    angle = np.mod(np.arctan2(u, -v), _POINT) - _POINT / 2
    return rho <= 0.45 + 0.55 * 2 * np.abs(angle) / _POINT


def second_tone(texture: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Boolean: where the darker of the two tones is."""
    if texture == "striped":
        return np.sin(3 * np.pi * u) > 0
    if texture == "dotted":
        return np.hypot(np.mod(2 * u, 1) - 0.5, np.mod(2 * v, 1) - 0.5) < 0.3
    if texture == "checkered":
        return (np.floor(2 * u) + np.floor(2 * v)) % 2 == 0
    return np.zeros(u.shape, dtype=bool)


@lru_cache(maxsize=4)
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    centres = (2 * np.arange(side) + 1) / side - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def _background(kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey values [S, S]: light, dark, or a ramp from light to the middle in a random direction."""
    if kind == "dark":
        return np.full(x.shape, rng.uniform(0.05, 0.2))
    light = rng.uniform(0.78, 0.92)
    if kind == "light":
        return np.full(x.shape, light)
    direction = rng.uniform(0, 2 * np.pi)
    along = np.cos(direction) * x + np.sin(direction) * y
    return light + (0.5 - light) * (along - along.min()) / (along.max() - along.min())


def _washed(color: np.ndarray) -> np.ndarray:
    grey = color.mean()
    return grey + _SATURATION * (color - grey)


def _box_mean(fine: np.ndarray, factor: int) -> np.ndarray:
    height, width = fine.shape[0] // factor, fine.shape[1] // factor
    return fine.reshape(height, factor, width, factor, *fine.shape[2:]).mean(axis=(1, 3))


def _instances(owner_SS: np.ndarray, count: int, factor: int) -> np.ndarray:
    if count == 0:
        return np.zeros([side // factor for side in owner_SS.shape], dtype=np.int16)
    coverage_KHH = np.stack([_box_mean(owner_SS == k, factor) for k in range(1, count + 1)])
    largest = coverage_KHH.argmax(axis=0).astype(np.int16) + 1
    return np.where(coverage_KHH.max(axis=0) >= 0.5, largest, 0).astype(np.int16)
