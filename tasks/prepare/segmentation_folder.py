"""Folders of images beside folders of masks: CamVid, VOC and others laid out like them."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder
from tasks.readers.segmentation import MOST_CLASSES, check_map_size, segmentation_dataset
from tasks.readers.selection import Limit, TestShare, choose_samples
from tasks.vision.image_files import VOID, Fit, ImageSize, image_paths, open_index_map


class MaskFolders(BaseModel):
    """Folders of one split, relative to `path`: images, class masks and, if any, object masks; paired by file name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    images: str
    masks: str
    instances: str | None = None


TRAIN = MaskFolders(images="train", masks="trainannot")
VAL = MaskFolders(images="val", masks="valannot")


def segmentation_folder(
    *,
    path: str,
    train: MaskFolders = TRAIN,
    test: MaskFolders | None = VAL,
    class_names: list[str] | None = None,
    void: list[int] = [VOID],  # noqa: B006  (steps take lists, and this one is never changed)
    thing_classes: list[str] = [],  # noqa: B006
    test_share: TestShare | None = None,
    image_size: ImageSize | None = None,
    fit: Fit = "stretch",
    grey: bool = False,
    limit: Limit | None = None,
    seed: int = 0,
) -> Dataset:
    """Images and index masks in parallel folders (layout of CamVid in Badrinarayanan et al., arXiv 1511.00561).

    An image and its mask have the same name up to the suffix. A mask holds one class index per pixel (grey or
    palette PNG); an object mask, as VOC's SegmentationObject, one object number per pixel, 0 for none.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    train: {images, masks, instances}: folders of split `train`; `instances` is optional.
    test: the same for split `test`; null where there is one set, which `test_share` may split.
    class_names: names of mask values 0, 1, ...; default "0", "1", ... up to the largest value.
    void: mask values that belong to no class; they become 255 and are not scored.
    thing_classes: names of the classes that have countable objects; needed with `instances`.
    test_share: share of the images that becomes split `test`.
    image_size: side in pixels, or [height, width]; needed if sizes differ. Images antialiased, masks nearest.
    fit: how an image meets `image_size`: "stretch" both sides, "crop" the centre, or "pad" (masks with void).
    grey: luminance instead of colour.
    limit: most samples per split, drawn with `seed`.
    seed: seed of all draws.

    Returns `images` uint8 [n, H, W, 3] and, as truth, `semantic` int16 [n, H, W] (255 void) and, with
    `instances`, `instance` int16 [n, H, W] (0 none, else the object's number).

    Raises FileNotFoundError or ValueError naming the file: missing, empty folder, no partner, cut short, mask
    and image of different size, a mask value that is neither a class nor void.
    """
    folder = existing_folder(path)
    parts = {"train": train} if test is None else {"train": train, "test": test}
    objects = {part.instances is not None for part in parts.values()}
    if len(objects) > 1:
        raise ValueError("instances: given for one of 'train' and 'test' only; give it for both or for none")
    if objects == {True} and not thing_classes:
        raise ValueError("thing_classes: needed with 'instances'; name the classes that have countable objects")
    pairs = {split: _pairs(folder, part) for split, part in parts.items()}
    splits = np.repeat(list(pairs), [len(found) for found in pairs.values()])
    rows, samples = choose_samples(splits, None, source=folder, test_share=test_share, limit=limit, seed=seed)
    every = [pair for found in pairs.values() for pair in found]
    chosen = [every[row] for row in rows]
    names = class_names if class_names is not None else _names_of_values(chosen, void)
    things = _thing_indices(thing_classes, names)
    lookup = _lookup(names, void)

    def truth_of(index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        _, mask_file, object_file = chosen[index]
        values = _index_map(mask_file, size)
        semantic = lookup[np.clip(values, 0, len(lookup) - 1)]
        if (semantic < 0).any():
            bad = int(values[semantic < 0][0])
            raise ValueError(
                f"path: {mask_file} holds value {bad}, which is neither one of {len(names)} classes nor in 'void' "
                f"{void}; add it to 'class_names' or to 'void'"
            )
        if object_file is None:
            return semantic, None
        return semantic, np.where(np.isin(semantic, things), _index_map(object_file, size), 0)

    return segmentation_dataset(
        samples,
        [image for image, _, _ in chosen],
        truth_of,
        class_names=names,
        thing_classes=things,
        size=image_size,
        fit=fit,
        grey=grey,
    )


def _pairs(folder: Path, part: MaskFolders) -> list[tuple[Path, Path, Path | None]]:
    images = _by_stem(folder / part.images)
    masks = _by_stem(folder / part.masks)
    objects = _by_stem(folder / part.instances) if part.instances is not None else None
    for others, name in ((masks, part.masks), (objects, part.instances)):
        if others is None or name is None:
            continue
        for stem in sorted(images.keys() ^ others.keys()):
            have, lack = (images[stem], folder / name) if stem in images else (others[stem], folder / part.images)
            raise FileNotFoundError(f"path: {have} has no partner {stem}.* in {lack}; add it or delete {have.name}")
    return [(images[stem], masks[stem], objects[stem] if objects is not None else None) for stem in images]


def _by_stem(folder: Path) -> dict[str, Path]:
    files = image_paths(existing_folder(folder, "correct 'train' or 'test' ('test: null' where there is one set)"))
    if not files:
        raise ValueError(f"path: {folder} holds no image; add images or correct 'train' and 'test'")
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise ValueError(f"path: {file} and {found[file.stem].name} have one name; delete one of them")
        found[file.stem] = file
    return found


def _index_map(file: Path, size: tuple[int, int]) -> np.ndarray:
    values = open_index_map(file)
    check_map_size(values.shape, size, file)
    return values


def _names_of_values(pairs: list[tuple[Path, Path, Path | None]], void: list[int]) -> list[str]:
    largest = max(
        (int(v) for _, mask, _ in pairs for v in np.unique(open_index_map(mask)) if v not in void), default=-1
    )
    if largest < 0:
        raise ValueError(f"void: every pixel of every mask is in {void}; correct 'void'")
    return [str(value) for value in range(largest + 1)]


def _lookup(names: list[str], void: list[int]) -> np.ndarray:
    """Mask value -> class, VOID or -1 (not allowed); the last entry stands for everything beyond."""
    if not 0 < len(names) <= MOST_CLASSES:
        raise ValueError(f"class_names: {len(names)} classes, expected 1 to {MOST_CLASSES}; merge some")
    if any(value < 0 for value in void):
        raise ValueError(f"void: {void} holds a negative value; mask values are 0 and up")
    table = np.full(max(len(names), *void, 0) + 2, -1, dtype=np.int32)
    table[: len(names)] = np.arange(len(names))
    table[void] = VOID
    return table


def _thing_indices(thing_classes: list[str], names: list[str]) -> list[int]:
    for name in thing_classes:
        if name not in names:
            raise ValueError(f"thing_classes: '{name}' is not in 'class_names' ({', '.join(names)}); correct it")
    return sorted(names.index(name) for name in thing_classes)
