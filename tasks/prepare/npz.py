"""NumPy archives with images and labels, as MedMNIST distributes them."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from tasks.artifacts import Dataset
from tasks.readers.paths import reading
from tasks.readers.selection import (
    NO_LABEL,
    SPLITS,
    Grant,
    Imbalance,
    Limit,
    TestShare,
    check_labels,
    choose_samples,
)
from tasks.vision.image_files import ImageSize, grey_images, resize_images

Part = tuple[np.ndarray, np.ndarray | None]


def npz(
    *,
    path: str,
    class_names: list[str] | None = None,
    test_share: TestShare | None = None,
    image_size: ImageSize | None = None,
    grey: bool = False,
    limit: Limit | None = None,
    imbalance: Imbalance | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """Images and labels in one `.npz` archive, as MedMNIST (Yang et al., Scientific Data 2023, arXiv 2110.14795).

    Either `train_images`, `train_labels`, `val_...`, `test_...`, or one set `images` and `labels`; labels are
    optional. Images are [n, H, W] or [n, H, W, C] with 1 or 3 channels, whole numbers 0..255 or floats; labels
    [n] or [n, 1]. One set is all `train` unless `test_share` splits it. Pickled contents are refused.

    Parameters
    ----------
    path: the archive, relative to the workspace.
    class_names: names of labels 0, 1, ...; default "0", "1", ... up to the largest label.
    test_share: share of each class that becomes split `test`; only if the archive has no test split.
    image_size: side in pixels, or [height, width]; images are stretched, antialiased. Default: as stored.
    grey: luminance instead of colour.
    limit: most samples per split, equally many of each class, drawn with `seed`.
    imbalance: size of the largest class of `train` over that of the smallest, applied after `limit`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of all draws.

    Returns `images` uint8 or float32 [n, H, W, C] and the table `samples`, with `label` if there are labels.

    Raises FileNotFoundError or ValueError naming archive and entry: missing, cut short, pickled, wrong shape,
    NaN or infinite values, values outside 0..255, a label without a name.
    """
    file = Path(path)
    arrays = _read_archive(file)
    parts = _parts(file, arrays)
    splits = np.repeat(list(parts), [len(images) for images, _ in parts.values()])
    shapes = {(*images.shape[1:], str(images.dtype)) for images, _ in parts.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"path: {file}: the splits differ in image shape or type ({sorted(map(str, shapes))}); make them equal"
        )
    images = np.concatenate([images for images, _ in parts.values()])
    labels = None
    if any(labels is not None for _, labels in parts.values()):
        labels = np.concatenate([np.full(len(i), NO_LABEL) if y is None else y for i, y in parts.values()])
        check_labels(labels[labels != NO_LABEL], len(class_names) if class_names is not None else None, file)
    rows, samples = choose_samples(
        splits, labels, source=file, test_share=test_share, limit=limit, imbalance=imbalance, grant=grant, seed=seed
    )
    images = images[rows]
    if grey:
        images = grey_images(images)
    if image_size is not None:
        images = resize_images(images, image_size)
    meta = {}
    if labels is not None:
        meta["class_names"] = class_names if class_names is not None else [str(c) for c in range(int(labels.max()) + 1)]
    return Dataset({"samples": samples}, {"images": images}, meta=meta)


def _read_archive(file: Path) -> dict[str, np.ndarray]:
    with reading(file.absolute(), "put the archive there or correct 'path' (it is relative to the workspace)"):
        with file.open("rb") as stream:
            archived = zipfile.is_zipfile(stream)
        if not archived:
            raise ValueError(f"path: {file} is not an .npz archive or is cut short; download it again")
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            reason = str(error).splitlines()[0]
            remedy = "save plain numeric arrays" if "pickle" in reason else "download it again"
            raise ValueError(f"path: {file} cannot be read ({reason}); {remedy}") from error


def _parts(file: Path, arrays: dict[str, np.ndarray]) -> dict[str, Part]:
    """Split -> images [n, H, W, C], labels int64 [n] or None; only splits that have images."""
    prefixes = {split: f"{split}_" for split in SPLITS if f"{split}_images" in arrays}
    if not prefixes and "images" in arrays:
        prefixes = {"train": ""}
    if "train" not in prefixes:
        raise ValueError(f"path: {file} has no entry 'train_images' or 'images' (it has {sorted(arrays)}); rename it")
    parts = {}
    for split, prefix in prefixes.items():
        images = _images(arrays[f"{prefix}images"], f"{file}: '{prefix}images'")
        labels = arrays.get(f"{prefix}labels")
        if labels is not None:
            labels = _labels(labels, len(images), f"{file}: '{prefix}labels'")
        parts[split] = (images, labels)
    return parts


def _images(images: np.ndarray, source: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise ValueError(f"path: {source} has shape {images.shape}; expected [n, H, W] or [n, H, W, 1 or 3]")
    if np.issubdtype(images.dtype, np.floating):
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        if len(bad):
            raise ValueError(f"path: {source} has NaN or infinite values in row {bad[0]} ({len(bad)} rows); clean them")
        return images.astype(np.float32)
    if images.dtype != bool and not np.issubdtype(images.dtype, np.integer):
        raise ValueError(f"path: {source} has dtype {images.dtype}; save integers 0..255 or floats")
    if images.min() < 0 or images.max() > 255:
        raise ValueError(f"path: {source} has values {images.min()}..{images.max()}, expected 0..255; rescale them")
    return images.astype(np.uint8)


def _labels(labels: np.ndarray, count: int, source: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise ValueError(f"path: {source} has shape {labels.shape}, expected one label for each of {count} images")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"path: {source} has dtype {labels.dtype}; save whole numbers 0, 1, ...")
    if len(labels) and labels.min() < 0:
        raise ValueError(f"path: {source} holds label {labels.min()}, expected 0, 1, ...; correct the labels")
    return labels.astype(np.int64)
