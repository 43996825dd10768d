"""COCO annotation files: categories as classes, and per-pixel maps from polygons, RLE and PNG.

Format: Lin et al., ECCV 2014 (arXiv 1405.0312); panoptic: Kirillov et al., CVPR 2019 (arXiv 1801.00868).
Shape legend: H height, W width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pycocotools import mask as coco_mask

from tasks.readers.paths import reading
from tasks.readers.segmentation import MOST_CLASSES, check_map_size
from tasks.vision.image_files import VOID, open_picture

Form = Literal["instances", "panoptic", "stuff"]
Merge = Literal["none", "stuff", "all"]
NEEDED = {"images": ("id", "file_name", "height", "width"), "categories": ("id", "name"), "annotations": ("image_id",)}


@dataclass(frozen=True)
class Classes:
    """Classes 0..C-1 in the order of category ids, after merging."""

    names: list[str]
    things: list[int]
    of_category: dict[int, int]


def read_coco(file: Path) -> dict[str, Any]:
    """The parsed file; ValueError names a file that is cut short or lacks images, annotations or categories."""
    with reading(file):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"path: {file} is not JSON or is cut short ({error}); download it again") from error
    for key, fields in NEEDED.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"path: {file} has no list '{key}'; it is not a COCO annotation file, correct 'path'")
        if not content[key] and key != "annotations":
            raise ValueError(f"path: {file} has an empty list '{key}'; correct 'annotations'")
        for position, entry in enumerate(content[key]):
            missing = [field for field in fields if field not in entry]
            if missing:
                raise ValueError(f"path: {file}: entry {position} of '{key}' lacks '{missing[0]}'; restore the file")
    return content


def classes_of(categories: list[dict], *, form: Form, merge: Merge, void: list[int], background: str | None) -> Classes:
    """Classes from a file's categories.

    `merge` replaces stuff, or all, categories by their supercategory. Categories in `void` are no class
    (`stuff` only). `background` names the class of pixels without annotation, which is no thing.
    """
    index: dict[tuple[str, bool], int] = {}
    of_category = {}
    for category in sorted(categories, key=lambda c: c["id"]):
        if form == "stuff" and category["id"] in void:
            continue
        default = 0 if form == "stuff" else 1
        thing = bool(category.get("isthing", default)) and category["name"] != background
        merged = merge == "all" or (merge == "stuff" and not thing)
        name = category.get("supercategory") if merged else category["name"]
        if name is None:
            raise ValueError(f"supercategories: category '{category['name']}' has none; use 'supercategories: none'")
        of_category[category["id"]] = index.setdefault((name, thing), len(index))
    if background is not None:
        index.setdefault((background, False), len(index))
    if len(index) > MOST_CLASSES:
        raise ValueError(f"supercategories: {len(index)} classes, at most {MOST_CLASSES} fit; use 'stuff' or 'all'")
    return Classes([name for name, _ in index], [i for (_, thing), i in index.items() if thing], of_category)


def instance_maps(
    annotations: list[dict], classes: Classes, size: tuple[int, int], background: int, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """Semantic [H, W] and instance [H, W] of polygons or RLE.

    COCO objects may overlap: large ones are painted first, so that small ones stay visible. Crowds are void.
    """
    height, width = size
    semantic = np.full(size, background, dtype=np.int32)
    instance = np.zeros(size, dtype=np.int32)
    masks = [_decode(a, height, width, source) for a in annotations]
    order = sorted(range(len(masks)), key=lambda i: (not annotations[i].get("iscrowd", 0), -int(masks[i].sum()), i))
    number = 0
    for position in order:
        crowd = bool(annotations[position].get("iscrowd", 0))
        number += not crowd
        category = annotations[position]["category_id"]
        semantic[masks[position]] = VOID if crowd else _class_of(classes, category, source)
        instance[masks[position]] = 0 if crowd else number
    return semantic, instance


def panoptic_maps(
    annotation: dict, file: Path, classes: Classes, size: tuple[int, int], background: int
) -> tuple[np.ndarray, np.ndarray]:
    """Semantic [H, W] and instance [H, W] of a panoptic PNG (id = R + 256 G + 256^2 B). Crowds are void."""
    rgb = np.asarray(open_picture(file, grey=False)).astype(np.int64)
    check_map_size(rgb.shape[:2], size, file)
    ids, position = np.unique(rgb @ np.array([1, 256, 65536]), return_inverse=True)
    segments = {segment["id"]: segment for segment in annotation["segments_info"]}
    semantic_of = np.full(len(ids), background, dtype=np.int32)
    instance_of = np.zeros(len(ids), dtype=np.int32)
    number = 0
    for row, identifier in enumerate(ids.tolist()):
        if identifier == 0:
            continue
        if identifier not in segments:
            raise ValueError(f"path: {file} holds segment {identifier}, which 'segments_info' lacks; restore the pair")
        segment = segments[identifier]
        semantic_of[row] = VOID if segment.get("iscrowd", 0) else _class_of(classes, segment["category_id"], str(file))
        if semantic_of[row] in classes.things:
            number += 1
            instance_of[row] = number
    return semantic_of[position].reshape(size), instance_of[position].reshape(size)


def stuff_map(file: Path, values: np.ndarray, classes: Classes, size: tuple[int, int], void: list[int]) -> np.ndarray:
    """Semantic [H, W] of a map of category ids."""
    check_map_size(values.shape, size, file)
    ids, position = np.unique(values, return_inverse=True)
    found = [VOID if value in void else _class_of(classes, value, str(file)) for value in ids.tolist()]
    return np.array(found, dtype=np.int32)[position].reshape(size)


def _class_of(classes: Classes, category: int, source: str) -> int:
    if category not in classes.of_category:
        raise ValueError(f"path: {source} uses category {category}, which 'categories' lacks; download it again")
    return classes.of_category[category]


def _decode(annotation: dict, height: int, width: int, source: str) -> np.ndarray:
    """Mask bool [H, W] of one annotation: polygons, or run lengths, plain or compressed."""
    shape: Any = annotation.get("segmentation")
    try:
        if isinstance(shape, list):
            shape = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            shape = coco_mask.frPyObjects(cast(Any, shape), height, width)
        mask = coco_mask.decode(cast(Any, shape)).astype(bool)
    except Exception as error:  # pycocotools raises bare Exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"path: {source}: annotation {annotation.get('id')} has a bad 'segmentation' ({reason}); restore the file"
        ) from error
    check_map_size(mask.shape, (height, width), f"{source}: annotation {annotation.get('id')}")
    return mask
