"""Folders of image files, one folder per class."""

from pathlib import Path

import numpy as np

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder, subfolders
from tasks.readers.selection import NO_LABEL, SPLITS, Grant, Imbalance, Limit, TestShare, choose_samples
from tasks.vision.image_files import SUFFIXES, Fit, ImageSize, image_paths, read_pictures


def image_folder(
    *,
    path: str,
    test_share: TestShare | None = None,
    image_size: ImageSize | None = None,
    fit: Fit = "stretch",
    grey: bool = False,
    limit: Limit | None = None,
    imbalance: Imbalance | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """Image files in folders that name their class.

    One of three layouts: `{train,test}/<class>/*.jpg` (`val` may be there too; a split may also hold its
    images directly, then they have no label), `<class>/*.jpg` (one set), or `*.jpg` (one set without labels).
    One set is all `train` unless `test_share` splits it. Class names are the folder names in order.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    test_share: share of each class that becomes split `test`; only for the layouts with one set.
    image_size: side in pixels, or [height, width]; needed if the images differ in size. Antialiased.
    fit: how an image meets `image_size`: "stretch" both sides, "crop" the centre, or "pad" with black.
    grey: luminance instead of colour.
    limit: most samples per split, equally many of each class, drawn with `seed`.
    imbalance: size of the largest class of `train` over that of the smallest, applied after `limit`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of all draws.

    Returns `images` uint8 [n, H, W, 3] (or [n, H, W, 1]) and the table `samples`, with `label` if there are classes.

    Raises FileNotFoundError or ValueError naming folder or file: missing, empty, not readable, cut short, not
    an image, images of several sizes without `image_size`, one class only where labels are used.
    """
    folder = existing_folder(path)
    files, splits, classes = [], [], []
    for split, part in _split_folders(folder).items():
        for file, name in _labelled_files(part):
            files.append(file)
            splits.append(split)
            classes.append(name)
    names = sorted({name for name in classes if name is not None})
    index = {name: position for position, name in enumerate(names)}
    labels = np.array([index.get(name, NO_LABEL) for name in classes], dtype=np.int64) if names else None
    rows, samples = choose_samples(
        np.array(splits),
        labels,
        source=folder,
        test_share=test_share,
        limit=limit,
        imbalance=imbalance,
        grant=grant,
        seed=seed,
    )
    images = read_pictures([files[row] for row in rows], size=image_size, fit=fit, grey=grey)
    return Dataset({"samples": samples}, {"images": images}, meta={"class_names": names} if names else {})


def _split_folders(folder: Path) -> dict[str, Path]:
    """Split -> folder. A class may be called `train`: only folders that are all named after splits are splits."""
    names = {sub.name for sub in subfolders(folder)}
    if {"train", "test"} <= names or {"train", "val"} <= names or (names and names <= set(SPLITS)):
        others = sorted(names - set(SPLITS))
        if others:
            raise ValueError(f"path: {folder} holds {others[0]}/ beside train/ and other splits; move it elsewhere")
        if "train" not in names:
            raise FileNotFoundError(f"path: {folder / 'train'} does not exist; add it beside {min(names)}/")
        return {split: folder / split for split in SPLITS if split in names}
    return {"train": folder}


def _labelled_files(folder: Path) -> list[tuple[Path, str | None]]:
    """Image files with the name of their class, or with None if they lie in `folder` itself."""
    direct, classes = image_paths(folder), subfolders(folder)
    if direct and classes:
        raise ValueError(
            f"path: {folder} holds both images ({direct[0].name}) and folders ({classes[0].name}/); "
            "keep either images without labels or one folder per class"
        )
    if not classes:
        _need_images(direct, folder)
        return [(file, None) for file in direct]
    found: list[tuple[Path, str | None]] = []
    for part in classes:
        files = image_paths(part)
        _need_images(files, part)
        found += [(file, part.name) for file in files]
    return found


def _need_images(files: list[Path], folder: Path) -> None:
    if not files:
        raise ValueError(f"path: {folder} holds no image ({', '.join(sorted(SUFFIXES))}); add images or delete it")
