"""Reader `idx`."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tasks.prepare.idx import idx
from tasks.readers.idx_format import TYPES, read_idx

CODES = {np.dtype(dtype).newbyteorder("=").str: code for code, dtype in TYPES.items()}


def encode(values: np.ndarray) -> bytes:
    """An independent writer of the format."""
    code = CODES[values.dtype.str]
    header = struct.pack(">HBB", 0, code, values.ndim) + b"".join(struct.pack(">I", side) for side in values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def write_pair(folder: Path, prefix: str, count: int, *, classes: int = 3, suffix: str = ".gz", seed: int = 0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 5, 4), dtype=np.uint8)
    labels = (np.arange(count) % classes).astype(np.uint8)
    pack = gzip.compress if suffix else bytes
    (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(encode(images)))
    (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(encode(labels)))
    return images, labels


@given(
    dtype=st.sampled_from(sorted(CODES)),
    data=st.data(),
    shape=arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
    compressed=st.booleans(),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, data: st.DataObject, shape, compressed
) -> None:
    values = data.draw(arrays.arrays(np.dtype(dtype), shape))
    path = tmp_path_factory.mktemp("idx") / ("x.gz" if compressed else "x")
    path.write_bytes(gzip.compress(encode(values)) if compressed else encode(values))
    back = read_idx(path, len(shape))
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_train_and_test_pairs(tmp_path: Path, suffix: str) -> None:
    images, labels = write_pair(tmp_path, "train", 9, suffix=suffix)
    test_images, _ = write_pair(tmp_path, "t10k", 6, suffix=suffix, seed=1)
    dataset = idx(path=str(tmp_path))
    dataset.check()
    assert np.array_equal(dataset.arrays["images"][dataset.rows("train"), ..., 0], images)
    assert np.array_equal(dataset.arrays["images"][dataset.rows("test"), ..., 0], test_images)
    assert np.array_equal(dataset.labels("label", dataset.rows("train")), labels)
    assert dataset.meta["class_names"] == ["0", "1", "2"]


def test_the_spelling_with_a_dot_is_read(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6, suffix="")
    for kind, dims in (("images", 3), ("labels", 1)):
        old = tmp_path / f"train-{kind}-idx{dims}-ubyte"
        old.rename(tmp_path / f"train-{kind}.idx{dims}-ubyte")
    assert len(idx(path=str(tmp_path)).samples) == 6


def test_one_pair_is_split_by_test_share(tmp_path: Path) -> None:
    write_pair(tmp_path, "t10k", 30)
    assert len(idx(path=str(tmp_path)).rows("train")) == 30
    dataset = idx(path=str(tmp_path), test_share=0.2)
    assert len(dataset.rows("test")) == 6
    assert np.bincount(dataset.labels("label", dataset.rows("test"))).tolist() == [2, 2, 2]


def test_images_stay_with_their_labels(tmp_path: Path) -> None:
    images, labels = write_pair(tmp_path, "train", 60)
    dataset = idx(path=str(tmp_path), test_share=0.3, limit=12, imbalance=2.0, seed=5)
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    found = [label_of[image.tobytes()] for image in dataset.arrays["images"]]
    assert found == dataset.samples["label"].tolist()


def test_image_size_and_class_names(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6)
    dataset = idx(path=str(tmp_path), image_size=[8, 6], class_names=["a", "b", "c", "d"])
    assert dataset.arrays["images"].shape == (6, 8, 6, 1)
    assert dataset.arrays["images"].dtype == np.uint8
    assert dataset.meta["class_names"] == ["a", "b", "c", "d"]


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: .*nowhere does not exist; put the data set there"):
        idx(path=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"holds no train-images-idx3-ubyte"):
        idx(path=str(tmp_path))


def test_missing_labels(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\[.gz\] does not exist; put it beside"):
        idx(path=str(tmp_path))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_truncated(tmp_path: Path, suffix: str, cut: Callable[[Path], Path]) -> None:
    write_pair(tmp_path, "train", 60, suffix=suffix)
    path = cut(tmp_path / f"train-images-idx3-ubyte{suffix}")
    message = "its header says" if suffix == "" else "is cut short"
    with pytest.raises(ValueError, match=rf"path: {path}.*{message}.*download it again"):
        idx(path=str(tmp_path))


@pytest.mark.parametrize("length", [0, 3, 10])
def test_truncated_in_the_header(tmp_path: Path, length: int) -> None:
    write_pair(tmp_path, "train", 6, suffix="")
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"is cut short"):
        idx(path=str(tmp_path))


def test_trailing_bytes(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6, suffix="")
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"holds 137 bytes, its header says 136"):
        idx(path=str(tmp_path))


def test_wrong_magic_number(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6, suffix="")
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\x89PNG" + path.read_bytes()[4:])
    with pytest.raises(ValueError, match=r"has magic number 0x89504e47"):
        idx(path=str(tmp_path))


def test_swapped_files_are_recognised(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6, suffix="")
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    data = images.read_bytes(), labels.read_bytes()
    images.write_bytes(data[1])
    labels.write_bytes(data[0])
    with pytest.raises(ValueError, match=r"magic number 0x00000801, .*check that images and labels are not swapped"):
        idx(path=str(tmp_path))


def test_not_gzip(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6)
    (tmp_path / "train-images-idx3-ubyte.gz").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"is not a gzip file; download it again"):
        idx(path=str(tmp_path))


def test_counts_differ(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encode(np.zeros(5, dtype=np.uint8))))
    with pytest.raises(ValueError, match=r"holds 6 images but .* 5 labels"):
        idx(path=str(tmp_path))


def test_label_outside_the_names(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6)
    with pytest.raises(ValueError, match=r"holds label 2, expected 0..1 .*'class_names'"):
        idx(path=str(tmp_path), class_names=["a", "b"])


def test_no_image_at_all(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 0)
    with pytest.raises(ValueError, match=r"without a single image"):
        idx(path=str(tmp_path))


def test_one_class_only(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 6, classes=1)
    with pytest.raises(ValueError, match=r"grant: .* has only one class"):
        idx(path=str(tmp_path), grant="train")


def test_no_permission(open_folder: Path, forbidden: Callable) -> None:
    write_pair(open_folder, "train", 6)
    path = open_folder / "train-images-idx3-ubyte.gz"
    with forbidden(path), pytest.raises(ValueError, match=rf"path: no permission to read {path}; grant it"):
        idx(path=str(open_folder))


def test_mnist(real_data: Path) -> None:
    dataset = idx(path=str(real_data / "mnist-t10k"), test_share=0.2)
    dataset.check()
    assert dataset.arrays["images"].shape == (10_000, 28, 28, 1)
    # Digits per class of MNIST's test set.
    assert dataset.samples["label"].value_counts(sort=False).sort_index().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert len(dataset.rows("test")) == 2000
