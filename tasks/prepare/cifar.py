"""CIFAR-10 and CIFAR-100 in their binary version."""

from pathlib import Path
from typing import Literal

import numpy as np

from tasks.artifacts import Dataset
from tasks.readers.paths import existing_folder, reading
from tasks.readers.selection import Grant, Imbalance, Limit, check_labels, choose_samples
from tasks.vision.image_files import ImageSize, grey_images, resize_images

PIXELS = 3 * 32 * 32
TRAIN_10, TEST_10 = [f"data_batch_{batch}.bin" for batch in range(1, 6)], ["test_batch.bin"]
TRAIN_100, TEST_100 = ["train.bin"], ["test.bin"]
# What the version for Python (pickle) holds in place of the binary files.
PICKLED = ("data_batch_1", "test_batch", "batches.meta", "train", "test", "meta")


def cifar(
    *,
    path: str,
    classes: Literal["fine", "coarse"] = "fine",
    image_size: ImageSize | None = None,
    grey: bool = False,
    limit: Limit | None = None,
    imbalance: Imbalance | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """CIFAR-10 or CIFAR-100 (Krizhevsky, Learning multiple layers of features from tiny images, 2009).

    The folder holds the "binary version": `data_batch_1.bin` ... `data_batch_5.bin`, `test_batch.bin`,
    `batches.meta.txt` (CIFAR-10), or `train.bin`, `test.bin`, `fine_label_names.txt`,
    `coarse_label_names.txt` (CIFAR-100). The Python version is pickled, which runs code on reading: refused.

    Parameters
    ----------
    path: folder with the .bin files, relative to the workspace.
    classes: CIFAR-100 only: the 100 "fine" classes or the 20 "coarse" ones.
    image_size: side in pixels, or [height, width]; images are stretched, antialiased. Default: 32.
    grey: luminance instead of colour.
    limit: most samples per split, equally many of each class, drawn with `seed`.
    imbalance: size of the largest class of `train` over that of the smallest, applied after `limit`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of all draws.

    Returns `images` uint8 [n, 32, 32, 3] and the table `samples` with `label`.

    Raises FileNotFoundError or ValueError naming the file: missing, cut short, pickled, a label without a name.
    """
    folder = existing_folder(path)
    if (folder / TRAIN_10[0]).exists():
        train, test, label_bytes, names_file = TRAIN_10, TEST_10, 1, "batches.meta.txt"
    elif (folder / TRAIN_100[0]).exists():
        train, test, label_bytes, names_file = TRAIN_100, TEST_100, 2, f"{classes}_label_names.txt"
    else:
        raise _no_binary_version(folder)
    if classes == "coarse" and label_bytes == 1:
        raise ValueError(f"classes: {folder} holds CIFAR-10, which has no coarse classes; remove 'classes'")
    column = 1 if label_bytes == 2 and classes == "fine" else 0
    names = _class_names(folder / names_file)
    parts = [(split, folder / name) for split, group in (("train", train), ("test", test)) for name in group]
    records = [_read_records(file, label_bytes) for _, file in parts]
    for (_, file), record in zip(parts, records, strict=True):
        check_labels(record[:, column], len(names), file)
    splits = np.repeat([split for split, _ in parts], [len(record) for record in records])
    labels = np.concatenate([record[:, column] for record in records]).astype(np.int64)
    rows, samples = choose_samples(
        splits, labels, source=folder, limit=limit, imbalance=imbalance, grant=grant, seed=seed
    )
    pixels = np.concatenate([record[:, label_bytes:] for record in records])[rows]
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    if grey:
        images = grey_images(images)
    if image_size is not None:
        images = resize_images(images, image_size)
    return Dataset({"samples": samples}, {"images": images}, meta={"class_names": names})


def _read_records(file: Path, label_bytes: int) -> np.ndarray:
    """Records uint8 [n, label_bytes + 3072]: labels, then red, green, blue planes row by row."""
    with reading(file, "download the binary version again"):
        data = np.fromfile(file, dtype=np.uint8)
    length = label_bytes + PIXELS
    if len(data) == 0 or len(data) % length:
        raise ValueError(
            f"path: {file} holds {len(data)} bytes, not whole records of {length}; download the binary version again"
        )
    return data.reshape(-1, length)


def _class_names(file: Path) -> list[str]:
    with reading(file, "it comes with the binary version"):
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"path: {file} is empty; download the binary version again")
    return names


def _no_binary_version(folder: Path) -> Exception:
    pickled = next((folder / name for name in PICKLED if (folder / name).is_file()), None)
    if pickled is not None:
        return ValueError(
            f"path: {pickled} is of the Python (pickled) version, which is not read because unpickling runs code; "
            "download the binary version of CIFAR"
        )
    return FileNotFoundError(f"path: {folder} holds neither {TRAIN_10[0]} nor {TRAIN_100[0]}; correct 'path'")
