"""Folders of video frames, one per clip, beside folders of object masks: DAVIS and others laid out like it."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder, reading, subfolders
from tasks.readers.segmentation import check_map_size
from tasks.readers.selection import Limit, TestShare, choose_samples
from tasks.vision.image_files import (
    VOID,
    Fit,
    ImageSize,
    fit_map,
    fit_picture,
    image_paths,
    open_index_map,
    open_picture,
    stack_pictures,
)

_FEWEST_FRAMES = 2


def video_folder(
    *,
    path: str,
    images: str = "JPEGImages",
    masks: str | None = "Annotations",
    train: str | None = None,
    test: str | None = None,
    test_share: TestShare | None = None,
    every: Annotated[int, Field(ge=1)] = 1,
    image_size: ImageSize | None = None,
    fit: Fit = "stretch",
    limit: Limit | None = None,
    seed: int = 0,
) -> Dataset:
    """Clips as folders of frames (layout of DAVIS: Perazzi et al., CVPR 2016).

    `path/images/CLIP/*.jpg` are the frames of a clip in the order of their names, `path/masks/CLIP/*.png`, of the
    same names, index maps: 0 background, 1, 2, ... objects (any other value is an object too), 255 void where it stands
    beside other objects. A frame without a mask is not scored.

    Parameters
    ----------
    path: the folder, relative to the workspace.
    images, masks: folders of frames and masks in it; `masks: null` where there are none.
    train, test: text files in `path` with one clip per line; without them every clip is in `train`.
    test_share: share of the clips that becomes split `test`.
    every: keep every n-th frame of a clip.
    image_size: side in pixels, or [height, width]; needed if clips differ in size.
    fit: how a frame meets `image_size`: "stretch" both sides, "crop" the centre, or "pad" (masks with void).
    limit: most clips per split, drawn with `seed`.
    seed: seed of all draws.

    Returns `images` uint8 [F, H, W, 3], `clip` int64 [F] and, if there are masks, the truth `foreground` uint8 [F, H, W]
    (0 background, else the object's number, 255 void or not annotated); meta `clips`, their names.

    Raises FileNotFoundError or ValueError naming the file or clip: missing, no clip, fewer than two frames, damaged, a
    mask without a frame, a mask of another size, clips of different sizes, a clip of both lists.
    """
    folder = existing_folder(path)
    frames_in = existing_folder(folder / images, "correct 'images'")
    names, splits = _clips(folder, frames_in, train, test)
    rows, clips = choose_samples(splits, None, source=folder, test_share=test_share, limit=limit, seed=seed)
    chosen = [names[row] for row in rows]
    masks_in = None if masks is None else existing_folder(folder / masks, "correct 'masks' ('masks: null' for none)")
    files, maps, clip = [], [], []
    for number, name in enumerate(chosen):
        found = image_paths(existing_folder(frames_in / name, f"every clip of the lists needs a folder in {frames_in}"))
        partners = {} if masks_in is None else _masks(masks_in / name, {file.stem for file in found}, frames_in / name)
        found = found[::every]
        if len(found) < _FEWEST_FRAMES:
            raise ValueError(
                f"path: {frames_in / name} gives {len(found)} frames; a clip needs {_FEWEST_FRAMES} or more"
            )
        files += found
        maps += [partners.get(file.stem) for file in found]
        clip += [number] * len(found)
    truth: list[np.ndarray] = []

    def pictures():
        for file, mask in zip(files, maps, strict=True):
            image = open_picture(file, grey=False)
            if masks_in is not None:
                truth.append(_objects(mask, (image.height, image.width), image_size, fit))
            yield fit_picture(image, image_size, fit)

    arrays = {"images": stack_pictures(files, pictures()), "clip": np.array(clip, dtype=np.int64)}
    meta: dict = {"clips": chosen, "truth": []}
    if truth:
        arrays["foreground"] = np.stack(truth)
        meta["truth"] = ["foreground"]
    samples = clips.iloc[clip].reset_index(drop=True).assign(sample=np.arange(len(clip)))
    return Dataset({"samples": samples}, arrays, meta=meta)


def _clips(folder: Path, frames_in: Path, train: str | None, test: str | None) -> tuple[list[str], np.ndarray]:
    """Names of all clips and the split of each."""
    if train is None and test is None:
        names = [entry.name for entry in subfolders(frames_in)]
        if not names:
            raise ValueError(f"path: {frames_in} holds no folder; put the frames of every clip into one of its own")
        return names, np.full(len(names), "train")
    lists = {split: _names(folder / file) for split, file in (("train", train), ("test", test)) if file is not None}
    names = [name for part in lists.values() for name in part]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"train, test: clip '{name}' is listed twice; list it once")
    return names, np.repeat(list(lists), [len(part) for part in lists.values()])


def _names(file: Path) -> list[str]:
    with reading(file, "correct 'train' or 'test'"):
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    if not any(names):
        raise ValueError(f"path: {file} lists no clip; write one name per line")
    return [name for name in names if name]


def _masks(folder: Path, frames: set[str], frames_in: Path) -> dict[str, Path]:
    """Mask files by stem; a clip without a folder of masks has none."""
    found = {file.stem: file for file in image_paths(folder)} if folder.is_dir() else {}
    for stem in sorted(found.keys() - frames):
        raise FileNotFoundError(f"path: {found[stem]} has no frame {stem}.* in {frames_in}; add it or delete the mask")
    return found


def _objects(mask: Path | None, size: tuple[int, int], image_size: ImageSize | None, fit: Fit) -> np.ndarray:
    """Objects uint8 [H, W] of one mask file at the frame's final size; all void without a file."""
    if mask is None:
        return fit_map(np.full(size, VOID), image_size, fit, VOID).astype(np.uint8)
    values = open_index_map(mask)
    check_map_size(values.shape, size, mask)
    # A binary mask is often written as 0 and 255: there 255 is the object.
    if set(np.unique(values)) <= {0, VOID}:
        values = np.where(values == VOID, 1, 0)
    if values.max() > VOID:
        raise ValueError(f"path: {mask} holds value {values.max()}, more than an 8-bit mask may; save it with 8 bits")
    return fit_map(values, image_size, fit, VOID).astype(np.uint8)
