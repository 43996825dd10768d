"""Reader `cifar`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.prepare.cifar import cifar

NAMES = [f"name-{index}" for index in range(10)]


def records(images: np.ndarray, *labels: np.ndarray) -> bytes:
    """Images uint8 [n, 32, 32, 3] as the binary version stores them: labels, then planes."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(label[:, None] for label in labels), planes], axis=1).astype(np.uint8).tobytes()


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for file in [f"data_batch_{batch}" for batch in range(1, 6)] + ["test_batch"]:
        labels = np.arange(20) % 10
        images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = labels
        (tmp_path / f"{file}.bin").write_bytes(records(images, labels))
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return tmp_path


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    for file, count in (("train", 200), ("test", 100)):
        fine = np.arange(count) % 100
        images = np.zeros((count, 32, 32, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = fine
        (tmp_path / f"{file}.bin").write_bytes(records(images, fine // 5, fine))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"fine-{index}" for index in range(100)))
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(f"coarse-{index}" for index in range(20)))
    return tmp_path


def test_cifar_10(ten: Path) -> None:
    dataset = cifar(path=str(ten), grant="train")
    dataset.check()
    assert dataset.arrays["images"].shape == (120, 32, 32, 3)
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 100, "test": 20}
    assert dataset.arrays["images"][:, 0, 0, 0].tolist() == dataset.samples["label"].tolist()
    assert dataset.meta["class_names"] == NAMES


def test_pixels_come_row_by_row_with_channels_last(tmp_path: Path, ten: Path) -> None:
    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(32, 32, 3) % 251
    (ten / "data_batch_1.bin").write_bytes(records(np.stack([image] * 2).astype(np.uint8), np.array([0, 1])))
    assert np.array_equal(cifar(path=str(ten)).arrays["images"][0], image)


@pytest.mark.parametrize(("classes", "count"), [("fine", 100), ("coarse", 20)])
def test_cifar_100(hundred: Path, classes: str, count: int) -> None:
    dataset = cifar(path=str(hundred), classes=classes)
    dataset.check()
    assert dataset.meta["class_names"] == [f"{classes}-{index}" for index in range(count)]
    fine = dataset.arrays["images"][:, 0, 0, 0]
    assert (fine // (100 // count)).tolist() == dataset.samples["label"].tolist()
    assert len(dataset.rows("train")) == 200


def test_draws_grey_and_size(ten: Path) -> None:
    first, again, other = (cifar(path=str(ten), limit=30, imbalance=3.0, seed=seed) for seed in (0, 0, 1))
    assert first.arrays["images"].tobytes() == again.arrays["images"].tobytes()
    assert first.arrays["images"].tobytes() != other.arrays["images"].tobytes()
    assert first.arrays["images"][:, 0, 0, 0].tolist() == first.samples["label"].tolist()
    assert cifar(path=str(ten), grey=True, image_size=16).arrays["images"].shape == (120, 16, 16, 1)


@pytest.mark.parametrize("name", ["data_batch_1", "train"])
def test_the_pickled_version_is_refused_unread(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Bomb:
        def __reduce__(self):
            return print, ("unpickled",)

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=rf"path: {tmp_path / name} is of the Python .* download the binary version"):
        cifar(path=str(tmp_path))
    assert "unpickled" not in capsys.readouterr().out


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: .*/none does not exist; put the data set there"):
        cifar(path=str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"holds neither data_batch_1.bin nor train.bin; correct 'path'"):
        cifar(path=str(tmp_path))


@pytest.mark.parametrize("name", ["data_batch_4.bin", "test_batch.bin", "batches.meta.txt"])
def test_a_missing_file(ten: Path, name: str) -> None:
    (ten / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"path: {ten / name} does not exist; .* the binary version"):
        cifar(path=str(ten))


@pytest.mark.parametrize("length", [0, 3073 * 19 + 5])
def test_truncated(ten: Path, length: int) -> None:
    file = ten / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"path: {file} holds {length} bytes, not whole records of 3073; download"):
        cifar(path=str(ten))


def test_label_outside_the_names(ten: Path) -> None:
    (ten / "test_batch.bin").write_bytes(records(np.zeros((3, 32, 32, 3), np.uint8), np.array([0, 11, 12])))
    with pytest.raises(ValueError, match=r"test_batch.bin holds label 11, expected 0..9 \(2 labels"):
        cifar(path=str(ten))


def test_no_class_names(ten: Path) -> None:
    (ten / "batches.meta.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"batches.meta.txt is empty"):
        cifar(path=str(ten))


def test_coarse_classes_of_cifar_10(ten: Path) -> None:
    with pytest.raises(ValueError, match=r"classes: .* holds CIFAR-10, which has no coarse classes"):
        cifar(path=str(ten), classes="coarse")


def test_one_class_only(ten: Path) -> None:
    for batch in range(1, 6):
        (ten / f"data_batch_{batch}.bin").write_bytes(records(np.zeros((3, 32, 32, 3), np.uint8), np.zeros(3)))
    with pytest.raises(ValueError, match=r"imbalance: .* has only one class in split 'train'"):
        cifar(path=str(ten), imbalance=10.0)


def test_no_permission(open_folder: Path, forbidden: Callable) -> None:
    file = open_folder / "data_batch_1.bin"
    file.write_bytes(records(np.zeros((3, 32, 32, 3), np.uint8), np.arange(3)))
    (open_folder / "batches.meta.txt").write_text("a\nb\nc\n")
    with forbidden(file), pytest.raises(ValueError, match=rf"path: no permission to read {file}; grant it"):
        cifar(path=str(open_folder))
