"""Rendered scenes with captions, masks and known factors.

Shape legend: n images, H side of the image.
"""

from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset
from tasks.shape_scenes.captions import caption, relation
from tasks.shape_scenes.labels import Classes, CombinedLabel, Factor, Kind, Label, classes_of, matches, shared
from tasks.shape_scenes.rendering import Domain, SceneObject, render
from tasks.shape_scenes.vocabulary import (
    BACKGROUNDS,
    COLORS,
    OPPOSITE,
    SHAPES,
    TEXTURES,
    WORDS,
    Background,
    Color,
    Shape,
    Texture,
)

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Pattern = Annotated[list[str], Field(min_length=3, max_length=3)]
_SPLITS = ("train", "val", "test")
_MOST_OBJECTS = 4  # more do not fit without overlap
_TRIES = 100
_SPACING = 1.05
_RADIUS = {"single": (0.45, 0.75), "scene": (0.28, 0.42)}
_FREEDOM = {
    "single": 0.4,
    "scene": 1.0,
}  # how far from the middle a centre may be, of what keeps the object in the image
_ROTATION = 0.35


def captioned_scenes(
    *,
    n_train: Annotated[int, Field(ge=1)],
    n_val: Count = 0,
    n_test: Count = 0,
    image_size: Annotated[int, Field(ge=8)] = 32,
    supersample: Annotated[int, Field(ge=1)] = 3,
    mode: Literal["single", "scene", "mixed"] = "mixed",
    n_objects: Annotated[list[int], Field(min_length=2, max_length=2)] = [1, 3],  # noqa: B006 (only read)
    shapes: list[Shape] = list(SHAPES),  # noqa: B006
    colors: list[Color] = list(COLORS),  # noqa: B006
    textures: list[Texture] = list(TEXTURES),  # noqa: B006
    backgrounds: list[Background] = list(BACKGROUNDS),  # noqa: B006
    domain: Domain = "clean",
    label: Label = "shape",
    holdout: list[Pattern] = [],  # noqa: B006
    attribute_drop: Share = 0.3,
    noise: Annotated[float, Field(ge=0)] = 0.02,
    captions: bool = False,
    grant: Literal["none", "train"] = "none",
    replicates: Annotated[int, Field(ge=1)] = 1,
    seed: int = 0,
) -> Dataset:
    """Coloured, textured shapes on a background: a stand-in for captioned photographs in which everything is known.

    Parameters
    ----------
    n_train, n_val, n_test: images of each split, of each replicate.
    image_size: side in pixels. supersample: points per pixel and axis that are averaged.
    mode: `single` (one large object), `scene` (several smaller ones) or `mixed` (half of the images each).
    n_objects: [least, most] objects of a scene, uniform; at most 4.
    shapes, colors, textures, backgrounds: the values that occur, in the order of their ids.
    domain: `clean`; `sketch` (outlines and second tones in weak colours on white), `pale` (60 % of the background in
        every object), `noisy` (pixel noise of deviation 0.15) or `inverted` (1 - x).
    label: what the class of an object is: `shape`, `color`, `texture`, `shape_color`, `{combine: [...], ...}` (some
        combinations only, see `tasks.shape_scenes.labels.CombinedLabel`) or `{merge: shape, groups: [[...], ...]}`.
    holdout: [shape, color, texture] patterns, `*` for any value, that never occur in train.
    attribute_drop: probability with which a caption leaves an adjective out.
    noise: standard deviation of the pixel noise of every image (intensities are 0..1).
    captions: whether captions are given to the method; otherwise they are truth, since they name the class.
    grant: whether labels of train are given.
    replicates: independent draws side by side (array `replicate`), of which a seed uses one.
    seed: seed of all draws. An image depends on the seed and its place in its split alone.

    Returns `images` uint8 [n, H, H, 3]; `label` of the largest object; table `captions`. As truth `instance_masks` int16
    [n, H, H] (0 background, else the object from 1), `semantic_masks` int16 (0, else 1 + class), `factors` int64 [n, 4]
    (shape, color, texture, background of the largest object), tables `objects`, `relations` (every pair, both ways) and
    `classes`. meta: `class_names`, `factors` (values of each), `words` (of the captions), `dropped_objects` (for which no place was found).

    Raises ValueError naming the parameter: an unknown or doubled value, a holdout or label that leaves train nothing,
    more objects than fit.
    """
    lists: dict[Factor, list[str]] = {"shape": list(shapes), "color": list(colors), "texture": list(textures)}
    _check(lists, list(backgrounds), holdout, n_objects)
    label_stream = np.random.SeedSequence(seed, spawn_key=(0,))
    classes = classes_of(label, lists, np.random.default_rng(label_stream))
    kinds = _kinds_of_splits(classes, holdout)
    sharing = label.share_attributes if isinstance(label, CombinedLabel) else None
    counts = dict(zip(_SPLITS, (n_train, n_val, n_test), strict=True))
    places = [(r, s, i) for r in range(replicates) for s, split in enumerate(_SPLITS) for i in range(counts[split])]
    n = len(places)
    images = np.empty((n, image_size, image_size, 3), dtype=np.uint8)
    instances = np.empty((n, image_size, image_size), dtype=np.int16)
    scenes: list[list[SceneObject]] = []
    sentences, grounds, dropped = [], [], 0
    for row, place in enumerate(places):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, *place)))
        several = mode == "scene" or (mode == "mixed" and rng.random() < 0.5)
        wanted = int(rng.integers(n_objects[0], n_objects[1] + 1)) if several else 1
        own = _draw_kinds(kinds[_SPLITS[place[1]]], wanted, sharing, rng)
        size = "scene" if several else "single"
        objects = _place(own, _RADIUS[size], _FREEDOM[size], rng)
        ground = backgrounds[int(rng.integers(len(backgrounds)))]
        sentences.append(caption(objects, ground, attribute_drop, rng))
        images[row], instances[row] = render(objects, ground, domain, image_size, supersample, noise, rng)
        scenes.append(objects)
        grounds.append(ground)
        dropped += wanted - len(objects)
        if (row + 1) % 200 == 0 or row + 1 == n:
            progress.report(row + 1, n)
    objects_table = _objects(scenes, instances)
    factors = _largest(objects_table, grounds, lists, list(backgrounds))
    class_of_object = np.array([classes.of_kind[k] for k in _kind_rows(objects_table)], dtype=np.int64)
    semantic = _semantic(instances, objects_table, class_of_object)
    main = class_of_object[_largest_rows(objects_table)]
    split = np.array([_SPLITS[s] for _, s, _ in places])
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(split, dtype="str")})
    samples["label"] = pd.Series(main, dtype="Int64")
    if grant == "train":
        samples["given_label"] = samples["label"].where(pd.Series(split == "train"))
    arrays: dict[str, np.ndarray] = {"images": images, "instance_masks": instances, "semantic_masks": semantic}
    arrays["factors"] = factors
    if replicates > 1:
        arrays["replicate"] = np.array([r for r, _, _ in places], dtype=np.int64)
    tables = {
        "samples": samples,
        "captions": pd.DataFrame({"sample": np.arange(n), "caption": pd.Series(sentences, dtype="str")}),
        "objects": objects_table,
        "relations": _relations(scenes),
        "classes": _class_table(classes),
    }
    truth = ["instance_masks", "semantic_masks", "factors", "objects", "relations", "classes"]
    meta: dict[str, Any] = {
        "class_names": classes.names,
        "factors": {**lists, "background": list(backgrounds)},
        "words": list(WORDS),
        "dropped_objects": dropped,
        "truth": truth if captions else [*truth, "captions"],
    }
    return Dataset(tables, arrays, meta=meta)


def _check(
    lists: dict[Factor, list[str]], backgrounds: list[str], holdout: list[Pattern], n_objects: list[int]
) -> None:
    for name, values in {**lists, "background": backgrounds}.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name}s: {values} must name at least one value, each once")
    least, most = n_objects
    if not 1 <= least <= most <= _MOST_OBJECTS:
        raise ValueError(f"n_objects: {n_objects} must be [least, most] with 1 <= least <= most <= {_MOST_OBJECTS}")
    for pattern in holdout:
        for factor, value in zip(lists, pattern, strict=True):
            if value != "*" and value not in lists[factor]:
                raise ValueError(f"holdout: '{value}' in {pattern} is no {factor} of the data set; use '*' for any")


def _kinds_of_splits(classes: Classes, holdout: list[Pattern]) -> dict[str, list[Kind]]:
    """The kinds of objects that each split may hold: train lacks what is held out and the unseen classes."""
    held = [kind for kind in classes.kinds if any(matches(kind, pattern) for pattern in holdout)]
    train = [kind for kind in classes.kinds if kind not in held and classes.seen[classes.of_kind[kind]]]
    if not train:
        raise ValueError(f"holdout: {holdout} leaves no kind of object for train")
    return {"train": train, "val": classes.kinds, "test": classes.kinds}


def _draw_kinds(kinds: list[Kind], count: int, sharing: int | None, rng: np.random.Generator) -> list[Kind]:
    drawn = [kinds[int(rng.integers(len(kinds)))] for _ in range(count)]
    if sharing is not None and count > 1 and rng.random() < 0.5:
        alike = [kind for kind in kinds if shared(kind, drawn[0]) == sharing]
        if alike:
            drawn[1] = alike[int(rng.integers(len(alike)))]
    return drawn


def _place(
    kinds: list[Kind], radius: tuple[float, float], freedom: float, rng: np.random.Generator
) -> list[SceneObject]:
    """Objects that lie in the image and keep apart; one for which 100 tries find no place is left out."""
    placed: list[SceneObject] = []
    for shape, color, texture in kinds:
        for _ in range(_TRIES):
            r = rng.uniform(*radius)
            cx, cy = freedom * rng.uniform(r - 1, 1 - r, 2)
            if all(np.hypot(cx - o.cx, cy - o.cy) > _SPACING * (r + o.r) for o in placed):
                rotation, gain = rng.uniform(-_ROTATION, _ROTATION), rng.uniform(0.9, 1.1)
                placed.append(SceneObject(shape, color, texture, cx, cy, r, rotation, gain))
                break
    return placed


def _objects(scenes: list[list[SceneObject]], instances: np.ndarray) -> pd.DataFrame:
    """One row per object: what it is, where it is, its box (pixels; x, y of the top left) and visible area (pixels)."""
    rows = []
    for sample, objects in enumerate(scenes):
        for number, o in enumerate(objects, start=1):
            ys, xs = np.nonzero(instances[sample] == number)
            if len(xs) == 0:
                raise ValueError(f"image_size: object {number} of image {sample} covers no pixel; draw larger images")
            box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
            rows.append((sample, number, o.shape, o.color, o.texture, o.cx, o.cy, o.r, *box, len(xs)))
    columns = ["sample", "object", "shape", "color", "texture", "cx", "cy", "r", "x", "y", "width", "height", "area"]
    return pd.DataFrame(rows, columns=pd.Index(columns)).astype(dict.fromkeys(("shape", "color", "texture"), "str"))


def _kind_rows(objects: pd.DataFrame) -> list[Kind]:
    return list(zip(objects["shape"], objects["color"], objects["texture"], strict=True))


def _largest_rows(objects: pd.DataFrame) -> np.ndarray:
    """Row of the object of largest area of each sample (the first of equals)."""
    return objects.groupby("sample")["area"].idxmax().to_numpy(dtype=np.int64)


def _largest(
    objects: pd.DataFrame, grounds: list[str], lists: dict[Factor, list[str]], backgrounds: list[str]
) -> np.ndarray:
    chosen = objects.iloc[_largest_rows(objects)]
    columns = [[lists[factor].index(value) for value in chosen[factor]] for factor in lists]
    return np.array([*columns, [backgrounds.index(ground) for ground in grounds]], dtype=np.int64).T.copy()


def _semantic(instances: np.ndarray, objects: pd.DataFrame, class_of_object: np.ndarray) -> np.ndarray:
    value = np.zeros((len(instances), _MOST_OBJECTS + 1), dtype=np.int16)
    value[objects["sample"], objects["object"]] = 1 + class_of_object
    return value[np.arange(len(instances))[:, None, None], instances]


def _relations(scenes: list[list[SceneObject]]) -> pd.DataFrame:
    rows = []
    for sample, objects in enumerate(scenes):
        for i, subject in enumerate(objects):
            for other in objects[i + 1 :]:
                how = relation(subject, other)
                rows += [(sample, subject.name, how, other.name), (sample, other.name, OPPOSITE[how], subject.name)]
    table = pd.DataFrame(rows, columns=pd.Index(["sample", "subject", "relation", "object"]))
    return table.astype({"sample": "int64", "subject": "str", "relation": "str", "object": "str"})


def _class_table(classes: Classes) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": np.arange(len(classes.names)),
            "name": pd.Series(classes.names, dtype="str"),
            "attributes": pd.Series(classes.attributes, dtype="str"),
            "seen": classes.seen,
        }
    )
