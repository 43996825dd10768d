"""Rendered scenes of stuff and things with their panoptic truth.

Shape legend: n images, H height, W width (H = W = `image_size`).
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset
from tasks.vision.stuff_and_things import STUFF, THING_RGB, THINGS, background, inside_thing, own_coordinates, pattern

_RADIUS = (0.11, 0.20)  # share of the width
_TRIES = 20
_COVERED_MAX = 0.15


def panoptic_scenes(
    *,
    n_train: Annotated[int, Field(ge=1)],
    n_test: Annotated[int, Field(ge=0)],
    image_size: Annotated[int, Field(ge=32)] = 64,
    two_stuff: Annotated[float, Field(ge=0, le=1)] = 0.3,
    max_objects: Annotated[int, Field(ge=1)] = 3,
    seed: int = 0,
) -> Dataset:
    """Scenes of one or two kinds of stuff with one to `max_objects` things on them.

    A stand-in for street and indoor scenes (COCO, Cityscapes) that has what panoptic segmentation is about:
    stuff that is told by texture and colour, things that occlude each other, and several of one class.
    Stuff: grass, water, sand. Things: disk, square, triangle, ring, at any rotation and 0.11-0.20 of the width
    in radius. An object may hide at most 15 % of its own area worth of earlier objects, else it is moved.

    Parameters
    ----------
    n_train: images of split `train`.
    n_test: images of split `test`.
    image_size: height and width in pixels. Textures keep their size in pixels, objects grow with the image.
    two_stuff: probability of a second stuff below a wavy horizon.
    max_objects: at most that many things per image; their number is uniform on 1..max_objects.
    seed: seed of all draws. An image depends on the seed and its place in its split alone.

    Returns `images` uint8 [n, H, W, 3] and, as truth, `semantic` int16 [n, H, W] (0-2 stuff, 3-6 things) and
    `instance` int16 [n, H, W] (0 stuff, else the number of the object in its image, from 1).
    """
    counts = {"train": n_train, "test": n_test}
    total = n_train + n_test
    images = np.empty((total, image_size, image_size, 3), dtype=np.uint8)
    semantic = np.empty((total, image_size, image_size), dtype=np.int16)
    instance = np.empty((total, image_size, image_size), dtype=np.int16)
    row = 0
    for stream, count in enumerate(counts.values()):
        for index in range(count):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
            images[row], semantic[row], instance[row] = _scene(image_size, two_stuff, max_objects, rng)
            row += 1
            if row % 100 == 0 or row == total:
                progress.report(row, total)
    samples = pd.DataFrame(
        {"sample": np.arange(total), "split": pd.Series(np.repeat(list(counts), list(counts.values())), dtype="str")}
    )
    meta = {
        "class_names": [*STUFF, *THINGS],
        "thing_classes": list(range(len(STUFF), len(STUFF) + len(THINGS))),
        "truth": ["semantic", "instance"],
    }
    return Dataset({"samples": samples}, {"images": images, "semantic": semantic, "instance": instance}, meta=meta)


def _scene(
    size: int, two_stuff: float, max_objects: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image uint8 [H, W, 3], semantic and instance int16 [H, W] of one scene."""
    image, semantic_HW = background(size, two_stuff, rng)
    instance_HW = np.zeros((size, size), dtype=np.int16)
    for _ in range(rng.integers(1, max_objects + 1)):
        kind = int(rng.integers(len(THINGS)))
        placed = _place(kind, instance_HW > 0, rng)
        if placed is None:
            continue
        mask_HW, u_HW, v_HW = placed
        image[mask_HW] = _thing(kind, u_HW, v_HW, rng)[mask_HW]
        semantic_HW[mask_HW] = len(STUFF) + kind
        instance_HW[mask_HW] = instance_HW.max() + 1
    # Objects hidden in full (possible with very many) leave no gap in the numbering.
    instance_HW = np.unique(instance_HW, return_inverse=True)[1].reshape(size, size).astype(np.int16)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), semantic_HW, instance_HW


def _place(
    kind: int, taken_HW: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Mask and the object's own coordinates (u, v) in pixels, all [H, W]; None if no place was found."""
    size = len(taken_HW)
    for _ in range(_TRIES):
        r = rng.uniform(*_RADIUS) * size
        cy, cx = rng.uniform(r + 1, size - r - 2, 2)
        u, v = own_coordinates(size, cy, cx, angle=rng.uniform(0, 2 * np.pi))
        mask = inside_thing(kind, u, v, r)
        if (mask & taken_HW).sum() <= _COVERED_MAX * mask.sum():
            return mask, u, v
    return None


def _thing(kind: int, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colours [H, W, 3] of one object, of which its mask is used."""
    colour = THING_RGB[kind] + rng.normal(0, 0.06, 3)
    return colour + pattern(kind, u, v)[..., None] + rng.normal(0, 0.03, (*u.shape, 3))
