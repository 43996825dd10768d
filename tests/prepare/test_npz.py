"""Reader `npz`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.prepare.npz import npz


def medical(**changes: object) -> dict[str, np.ndarray]:
    """Entries in MedMNIST's layout; `changes` replace entries, None removes one."""
    rng = np.random.default_rng(0)
    entries = {}
    for split, count in (("train", 12), ("val", 4), ("test", 6)):
        entries[f"{split}_images"] = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        entries[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    entries.update(changes)
    return {name: values for name, values in entries.items() if values is not None}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(**entries: np.ndarray) -> str:
        np.savez_compressed(tmp_path / "x.npz", **entries)
        return str(tmp_path / "x.npz")

    return write


def test_medmnist_layout(save: Callable) -> None:
    entries = medical()
    dataset = npz(path=save(**entries), grant="train")
    dataset.check()
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 12, "test": 6, "val": 4}
    for split in ("train", "val", "test"):
        rows = dataset.rows(split)
        assert np.array_equal(dataset.arrays["images"][rows, ..., 0], entries[f"{split}_images"])
        assert np.array_equal(dataset.labels("label", rows), entries[f"{split}_labels"][:, 0])
    assert dataset.meta["class_names"] == ["0", "1"]


def test_plain_layout_with_and_without_labels(save: Callable) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 5, 4, 3), dtype=np.int64)
    dataset = npz(path=save(images=images), test_share=0.3)
    assert "label" not in dataset.samples
    assert dataset.arrays["images"].dtype == np.uint8
    assert len(dataset.rows("test")) == 3
    labelled = npz(path=save(images=images, labels=np.arange(10) % 5), class_names=list("abcde"))
    assert labelled.samples["label"].tolist() == [0, 1, 2, 3, 4] * 2


def test_unlabeled_train_beside_labelled_test(save: Callable) -> None:
    dataset = npz(path=save(**medical(train_labels=None)))
    assert dataset.samples["label"].iloc[dataset.rows("train")].isna().all()
    assert dataset.samples["label"].iloc[dataset.rows("test")].notna().all()


def test_floats_stay_floats(save: Callable) -> None:
    images = np.random.default_rng(0).random((10, 5, 4, 3))
    dataset = npz(path=save(images=images), grey=True, image_size=[3, 2])
    dataset.check()
    assert dataset.arrays["images"].shape == (10, 3, 2, 1)
    assert dataset.arrays["images"].dtype == np.float32
    assert np.allclose(npz(path=save(images=images)).arrays["images"], images)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: .*/none.npz does not exist; put the archive there"):
        npz(path=str(tmp_path / "none.npz"))


def test_path_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: .*: Is a directory"):
        npz(path=str(tmp_path))


def test_truncated(save: Callable, cut: Callable) -> None:
    path = cut(Path(save(**medical())))
    with pytest.raises(ValueError, match=rf"path: {path} is not an .npz archive or is cut short; download it again"):
        npz(path=str(path))


def test_a_damaged_entry(save: Callable) -> None:
    path = Path(save(**medical()))
    data = bytearray(path.read_bytes())
    data[120:180] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"path: {path} cannot be read .*; download it again"):
        npz(path=str(path))


def test_pickled_entries_are_refused(save: Callable) -> None:
    path = save(images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"cannot be read \(Object arrays .*; save plain numeric arrays"):
        npz(path=path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(save: Callable, bad: float) -> None:
    images = np.zeros((10, 5, 4), dtype=np.float32)
    images[7, 2, 1] = bad
    with pytest.raises(ValueError, match=r"'images' has NaN or infinite values in row 7 \(1 rows\)"):
        npz(path=save(images=images))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"pixels": np.zeros((2, 4, 4))}, r"has no entry 'train_images' or 'images' \(it has \['pixels'\]\)"),
        ({"images": np.zeros((2, 3, 4, 5), np.uint8)}, r"'images' has shape \(2, 3, 4, 5\); expected"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, r"'images' has shape \(0, 4, 4, 1\); expected"),
        ({"images": np.full((2, 4, 4), 300)}, r"'images' has values 300..300, expected 0..255"),
        ({"images": np.zeros((2, 4, 4), complex)}, "'images' has dtype complex128"),
        (
            medical(train_labels=np.zeros((12, 14), np.uint8)),
            r"'train_labels' has shape \(12, 14\), expected one",
        ),
        (
            medical(train_labels=np.zeros(11, np.uint8)),
            r"'train_labels' has shape \(11,\), expected one label for",
        ),
        (medical(train_labels=np.zeros(12)), "'train_labels' has dtype float64"),
        (medical(train_labels=np.full(12, -1)), "'train_labels' holds label -1"),
        (medical(test_images=np.zeros((6, 9, 9), np.uint8)), "the splits differ in image shape or type"),
    ],
)
def test_bad_contents(save: Callable, entries: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        npz(path=save(**entries))
    assert "\n" not in str(caught.value)


def test_label_outside_the_names(save: Callable) -> None:
    with pytest.raises(ValueError, match=r"holds label 1, expected 0..0 .*'class_names'"):
        npz(path=save(**medical()), class_names=["healthy"])


def test_one_class_only(save: Callable) -> None:
    with pytest.raises(ValueError, match=r"grant: .* has only one class in split 'train'"):
        npz(path=save(**medical(train_labels=np.zeros(12, np.uint8))), grant="train")


def test_test_share_beside_a_test_split(save: Callable) -> None:
    with pytest.raises(ValueError, match=r"test_share: .*x.npz has a test split already"):
        npz(path=save(**medical()), test_share=0.5)


def test_no_permission(open_folder: Path, forbidden: Callable) -> None:
    path = open_folder / "x.npz"
    np.savez(path, **medical())
    with forbidden(path), pytest.raises(ValueError, match=rf"path: no permission to read {path}; grant it"):
        npz(path=str(path))


def test_pneumonia(real_data: Path) -> None:
    dataset = npz(path=str(real_data / "chest-xray" / "pneumoniamnist.npz"), class_names=["normal", "pneumonia"])
    dataset.check()
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 3882, "test": 624, "val": 524}
    assert dataset.arrays["images"].shape == (5030, 28, 28, 1)
    assert set(dataset.samples["label"]) == {0, 1}
