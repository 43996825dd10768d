"""Data sets in the IDX format: MNIST, Fashion-MNIST, KMNIST, QMNIST and others laid out like them."""

from pathlib import Path

import numpy as np

from tasks.artifacts import Dataset
from tasks.readers.idx_format import read_idx
from tasks.readers.paths import existing_folder
from tasks.readers.selection import Grant, Imbalance, Limit, TestShare, check_labels, choose_samples
from tasks.vision.image_files import ImageSize, resize_images

# Split -> prefixes of its files, and how the names go on (the second spelling is that of some mirrors).
FILES = {"train": "train", "test": "t10k"}
IMAGES, LABELS = ("-images-idx3-ubyte", "-images.idx3-ubyte"), ("-labels-idx1-ubyte", "-labels.idx1-ubyte")


def idx(
    *,
    path: str,
    class_names: list[str] | None = None,
    test_share: TestShare | None = None,
    image_size: ImageSize | None = None,
    limit: Limit | None = None,
    imbalance: Imbalance | None = None,
    grant: Grant = "none",
    seed: int = 0,
) -> Dataset:
    """Images and labels in IDX files, as LeCun, Cortes & Burges distribute MNIST.

    The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and `t10k-...`, each plain or `.gz`.
    If only one of the two pairs is there, all of it is split `train`, or `test_share` splits it.

    Parameters
    ----------
    path: folder with the files, relative to the workspace.
    class_names: names of labels 0, 1, ...; default "0", "1", ... up to the largest label.
    test_share: share of each class that becomes split `test`; only where one pair of files exists.
    image_size: side in pixels, or [height, width]; images are stretched, antialiased. Default: as stored.
    limit: most samples per split, equally many of each class, drawn with `seed`.
    imbalance: size of the largest class of `train` over that of the smallest, applied after `limit`.
    grant: "train" hands out the labels of `train` as `given_label`; "none" hands out none.
    seed: seed of all draws.

    Returns `images` uint8 [n, H, W, 1] and the table `samples` with `label`.

    Raises FileNotFoundError or ValueError naming the file: missing, cut short, wrong magic number, numbers of
    images and labels that differ, a label without a name.
    """
    folder = existing_folder(path)
    parts = {split: _read_pair(folder, prefix) for split, prefix in FILES.items()}
    found = {split: part for split, part in parts.items() if part is not None}
    if not found:
        raise FileNotFoundError(f"path: {folder} holds no train-images-idx3-ubyte[.gz] or t10k-...; correct 'path'")
    if len(found) == 1:
        found = {"train": next(iter(found.values()))}
    splits = np.repeat(list(found), [len(labels) for _, labels in found.values()])
    images = np.concatenate([images for images, _ in found.values()])
    labels = np.concatenate([labels for _, labels in found.values()])
    if len(labels) == 0:
        raise ValueError(f"path: {folder} holds IDX files without a single image; download them again")
    check_labels(labels, len(class_names) if class_names is not None else None, folder)
    rows, samples = choose_samples(
        splits, labels, source=folder, test_share=test_share, limit=limit, imbalance=imbalance, grant=grant, seed=seed
    )
    images = images[rows][..., None]
    if image_size is not None:
        images = resize_images(images, image_size)
    names = class_names if class_names is not None else [str(value) for value in range(int(labels.max()) + 1)]
    return Dataset({"samples": samples}, {"images": images}, meta={"class_names": names})


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images uint8 [n, H, W] and labels int64 [n], or None if neither file is there."""
    images_at, labels_at = _find(folder, prefix, IMAGES), _find(folder, prefix, LABELS)
    if images_at is None and labels_at is None:
        return None
    if images_at is None or labels_at is None:
        missing = f"{prefix}{(IMAGES if images_at is None else LABELS)[0]}[.gz]"
        raise FileNotFoundError(f"path: {folder / missing} does not exist; put it beside {images_at or labels_at}")
    images, labels = read_idx(images_at, 3), read_idx(labels_at, 1)
    for file, values in ((images_at, images), (labels_at, labels)):
        if values.dtype != np.uint8:
            raise ValueError(f"path: {file} holds {values.dtype} values, expected unsigned bytes; correct 'path'")
    if len(images) != len(labels):
        raise ValueError(
            f"path: {images_at} holds {len(images)} images but {labels_at} {len(labels)} labels; download both again"
        )
    return images, labels.astype(np.int64)


def _find(folder: Path, prefix: str, names: tuple[str, ...]) -> Path | None:
    candidates = [folder / f"{prefix}{name}{suffix}" for name in names for suffix in ("", ".gz")]
    return next((file for file in candidates if file.exists()), None)
