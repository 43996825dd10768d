"""COCO: photographs with instance, panoptic or stuff annotations."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.artifacts import Dataset
from tasks.readers.coco_annotations import (
    Classes,
    Form,
    Merge,
    classes_of,
    instance_maps,
    panoptic_maps,
    read_coco,
    stuff_map,
)
from tasks.readers.paths import existing_folder
from tasks.readers.segmentation import segmentation_dataset
from tasks.readers.selection import Limit, TestShare, choose_samples
from tasks.vision.image_files import VOID, Fit, ImageSize, open_index_map


class CocoFiles(BaseModel):
    """Files of one split, relative to `path`: the JSON file, the folder of the images, the folder of the PNG maps."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    annotations: str
    images: str = "."
    maps: str | None = None


def coco(
    *,
    path: str,
    form: Form,
    train: CocoFiles,
    test: CocoFiles | None = None,
    image_size: ImageSize | None = None,
    fit: Fit = "stretch",
    supercategories: Merge = "none",
    background: str | None = None,
    void: list[int] = [0, VOID],  # noqa: B006  (steps take lists, and this one is never changed)
    test_share: TestShare | None = None,
    limit: Limit | None = None,
    seed: int = 0,
) -> Dataset:
    """Images with COCO annotations (Lin et al., arXiv 1405.0312; panoptic: Kirillov et al., arXiv 1801.00868).

    Classes are the categories in the order of their ids. Where objects overlap the smaller one is on top;
    crowds are void.

    Parameters
    ----------
    path: folder that the other files are relative to, itself relative to the workspace.
    form: "instances" (polygons or RLE), "panoptic" (PNG, id = R + 256 G + 256^2 B) or "stuff" (PNG of category ids).
    train: {annotations, images, maps}: JSON file, image folder, folder of the PNG maps (not for "instances").
    test: the same for split `test`; without it `test_share` may split `train`.
    image_size: side in pixels, or [height, width]; needed as COCO images differ in size. Maps nearest.
    fit: how an image meets `image_size`: "stretch" both sides, "crop" the centre, or "pad" (maps with void).
    supercategories: "stuff" or "all" categories are replaced by their supercategory; "none" are.
    background: class of the pixels without annotation, a category's name or a new one; default: they are void.
    void: form "stuff" only: map values that are no class.
    test_share: share of the images that becomes split `test`.
    limit: most samples per split, drawn with `seed`.
    seed: seed of all draws.

    Returns `images` uint8 [n, H, W, 3] and, as truth, `semantic` int16 [n, H, W] (255 void) and, but for "stuff",
    `instance` int16 [n, H, W] (0 none, else the object's number).

    Raises FileNotFoundError or ValueError naming the file: missing, cut short, no image or annotation, map and
    image of different size, an unknown category or segment.
    """
    folder = existing_folder(path)
    parts = {"train": train} if test is None else {"train": train, "test": test}
    contents = {split: read_coco(folder / part.annotations) for split, part in parts.items()}
    classes = classes_of(
        contents["train"]["categories"], form=form, merge=supercategories, void=void, background=background
    )
    _need_same_categories(contents)
    sources = [source for split, part in parts.items() for source in _sources(folder, part, contents[split], form)]
    splits = np.repeat(list(parts), [len(contents[split]["images"]) for split in parts])
    rows, samples = choose_samples(splits, None, source=folder, test_share=test_share, limit=limit, seed=seed)
    chosen = [sources[row] for row in rows]
    rest = VOID if background is None else classes.names.index(background)

    def truth_of(index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        return _maps(chosen[index], form, classes, size, rest, void)

    return segmentation_dataset(
        samples,
        [source.image for source in chosen],
        truth_of,
        class_names=classes.names,
        thing_classes=classes.things,
        size=image_size,
        fit=fit,
    )


@dataclass(frozen=True)
class _Source:
    """One image, its annotations and its map."""

    image: Path
    height: int
    width: int
    annotations: list[dict]
    map: Path | None
    json_file: Path


def _need_same_categories(contents: dict[str, dict]) -> None:
    tables = [{c["id"]: c["name"] for c in content["categories"]} for content in contents.values()]
    if any(table != tables[0] for table in tables):
        raise ValueError("annotations: 'train' and 'test' list different categories; use one edition of both files")


def _sources(folder: Path, part: CocoFiles, content: dict, form: Form) -> list[_Source]:
    json_file = folder / part.annotations
    if (form != "instances") != (part.maps is not None):
        what = "needs 'maps', the folder of its PNG maps" if part.maps is None else "has no PNG maps; remove 'maps'"
        raise ValueError(f"form: '{form}' {what} (annotations: {part.annotations})")
    of_image: dict[int, list[dict]] = {}
    key = "segments_info" if form == "panoptic" else "segmentation"
    for annotation in content["annotations"]:
        if form != "stuff" and key not in annotation:
            raise ValueError(f"form: {json_file} has no '{key}', which form '{form}' needs; correct 'form'")
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    unknown = of_image.keys() - {image["id"] for image in content["images"]}
    if unknown:
        raise ValueError(f"path: {json_file}: annotations of image {min(unknown)}, which 'images' lacks; restore it")
    sources = []
    for image in sorted(content["images"], key=lambda i: i["id"]):
        annotations = of_image.get(image["id"], [])
        map_file = None
        if part.maps is not None:
            name = f"{Path(image['file_name']).stem}.png"
            if form == "panoptic":
                if len(annotations) != 1:
                    raise ValueError(
                        f"path: {json_file}: image {image['id']} has {len(annotations)} annotations, not 1; restore it"
                    )
                name = annotations[0]["file_name"]
            map_file = folder / part.maps / name
        sources.append(
            _Source(
                image=folder / part.images / image["file_name"],
                height=image["height"],
                width=image["width"],
                annotations=annotations,
                map=map_file,
                json_file=json_file,
            )
        )
    return sources


def _maps(
    source: _Source, form: Form, classes: Classes, size: tuple[int, int], rest: int, void: list[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    if size != (source.height, source.width):
        raise ValueError(
            f"path: {source.image} is {size[1]}x{size[0]} but {source.json_file} says {source.width}x{source.height}; "
            "restore the image that was annotated"
        )
    if source.map is None:
        return instance_maps(source.annotations, classes, size, rest, str(source.json_file))
    if form == "panoptic":
        return panoptic_maps(source.annotations[0], source.map, classes, size, rest)
    return stuff_map(source.map, open_index_map(source.map), classes, size, void), None
