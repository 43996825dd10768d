"""Rendered furnished rooms: posed views, labelled points, super-voxels.

Shape legend: n rooms, V views, H, W pixels, P points of all rooms.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset
from tasks.scenes3d.cameras import intrinsics, look_at, render
from tasks.scenes3d.rooms import CLASSES, furnished_room
from tasks.scenes3d.supervoxels import graph_supervoxels
from tasks.scenes3d.voxels import occupied_voxels

Side = Annotated[int, Field(ge=8)]
_FOV = 1.25
_GAIN, _NOISE = (0.75, 1.2), 0.03


def scenes3d_rooms(
    *,
    n_train: Annotated[int, Field(ge=1)],
    n_test: Annotated[int, Field(ge=0)],
    voxel: Annotated[float, Field(gt=0)] = 0.1,
    views: Annotated[int, Field(ge=2)] = 10,
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)] = [48, 64],  # noqa: B006  (never changed)
    seed: int = 0,
) -> Dataset:
    """Rooms with beds, cabinets, tables, chairs, lamps and plants, a stand-in for indoor scans (ScanNet, S3DIS).

    A room is 3.6-5.4 m wide and deep; its solids have a colour and a texture that belong to their class. Cameras in the room
    look across it; each view has a gain in 0.75-1.2 and noise 0.03. Points are the hits of all views, one per voxel.

    Parameters
    ----------
    n_train, n_test: rooms of the splits. views: views per room. image_size: [height, width] of a view.
    voxel: side of the voxel grid in metres.
    seed: seed of all draws. A room depends on the seed and its place in its split alone.

    Samples are rooms. Arrays by room: `images` uint8 [n, V, H, W, 3], `c2w` float32 [n, V, 3, 4], `intrinsics` float32
    [n, 3, 3], `distance` float32 [n, V, H, W] along the ray (0: nothing). By point: `points` float32 [P, 3] in metres, `rgb`
    float32 [P, 3] in 0..1, `normals` float32 [P, 3], `scene` int64 [P], `supervoxel` int64 [P] (numbered through). Truth:
    `point_label` int64 [P] (floor, wall, table, chair, bed, cabinet, lamp, plant), `point_object` and `point_subtype`
    int64 [P] (within the room, within the class).
    """
    counts = {"train": n_train, "test": n_test}
    total, (height, width) = n_train + n_test, image_size
    k = intrinsics(height, width, _FOV)
    images = np.empty((total, views, height, width, 3), dtype=np.uint8)
    distance = np.zeros((total, views, height, width), dtype=np.float32)
    c2w = np.empty((total, views, 3, 4), dtype=np.float32)
    parts: dict[str, list[np.ndarray]] = {}
    room = segments = 0
    for stream, count in enumerate(counts.values()):
        for index in range(count):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
            solids, wide, deep = furnished_room(rng)
            hits: dict[str, list[np.ndarray]] = {}
            for view in range(views):
                c2w[room, view] = _camera(view, views, wide, deep, rng)
                seen = render(solids, c2w[room, view].astype(np.float64), k, height, width)
                noisy = seen.colour * rng.uniform(*_GAIN) + rng.normal(0, _NOISE, seen.colour.shape)
                images[room, view] = (np.clip(noisy, 0, 1) * 255).round()
                there = np.isfinite(seen.distance)
                distance[room, view][there] = seen.distance[there]
                found = {
                    "points": seen.point,
                    "rgb": images[room, view] / 255,
                    "normals": seen.normal,
                    "solid": seen.solid,
                }
                for name, value in found.items():
                    hits.setdefault(name, []).append(value[there])
            cloud = _cloud({name: np.concatenate(value) for name, value in hits.items()}, voxel)
            solid = cloud.pop("solid")
            cloud["scene"] = np.full(len(solid), room)
            cloud["supervoxel"] = segments + graph_supervoxels(cloud["points"], cloud["rgb"], cloud["normals"])
            segments = int(cloud["supervoxel"].max()) + 1
            for name, attribute in (("point_label", "cls"), ("point_object", "obj"), ("point_subtype", "sub")):
                cloud[name] = np.array([getattr(s, attribute) for s in solids])[solid]
            for name, value in cloud.items():
                kind = np.float32 if value.dtype.kind == "f" else np.int64
                parts.setdefault(name, []).append(value.astype(kind))
            room += 1
            progress.report(room, total)
    split = np.repeat(list(counts), list(counts.values()))
    samples = pd.DataFrame({"sample": np.arange(total), "split": pd.Series(split, dtype="str")})
    arrays = {
        "images": images,
        "c2w": c2w,
        "intrinsics": np.repeat(k[None], total, axis=0).astype(np.float32),
        "distance": distance,
        **{name: np.concatenate(value) for name, value in parts.items()},
    }
    truth = ["point_label", "point_object", "point_subtype"]
    return Dataset({"samples": samples}, arrays, meta={"class_names": list(CLASSES), "voxel": voxel, "truth": truth})


def _camera(view: int, views: int, wide: float, deep: float, rng: np.random.Generator) -> np.ndarray:
    a = 2 * np.pi * view / views + rng.uniform(-0.2, 0.2)
    eye = np.array([0.36 * wide * np.cos(a), 0.36 * deep * np.sin(a), rng.uniform(1.4, 2.1)])
    aside = rng.uniform(-0.6, 0.6, 2) - 0.7 * np.array([np.cos(a), np.sin(a)])
    return look_at(eye, np.array([*aside, rng.uniform(0.2, 0.9)]))


def _cloud(hits: dict[str, np.ndarray], voxel: float) -> dict[str, np.ndarray]:
    """Positions are means over a voxel, everything else is that of its first hit."""
    mean, first, _ = occupied_voxels(hits["points"], voxel)
    return {name: mean if name == "points" else value[first] for name, value in hits.items()}
