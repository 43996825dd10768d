"""Reader `image_folder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.prepare.image_folder import image_folder

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def animals(tmp_path: Path, write_image: Callable) -> Path:
    """{train,test}/<class>: 8 and 4 lossless images of each class; the red channel is class, green the number."""
    for split, count in (("train", 8), ("test", 4)):
        for index, name in enumerate(CLASSES):
            for number in range(count):
                array = np.full((6, 8, 3), (index, number, 50 if split == "test" else 0), dtype=np.uint8)
                write_image(tmp_path / split / name / f"{number}.png", array)
    return tmp_path


def test_split_folders(animals: Path) -> None:
    dataset = image_folder(path=str(animals))
    dataset.check()
    images = dataset.arrays["images"]
    assert images.shape == (36, 6, 8, 3)
    assert images.dtype == np.uint8
    assert dataset.meta["class_names"] == list(CLASSES)
    assert images[:, 0, 0, 0].tolist() == dataset.samples["label"].tolist()
    assert (images[dataset.rows("test"), 0, 0, 2] == 50).all()
    assert (images[dataset.rows("train"), 0, 0, 2] == 0).all()


def test_truth_is_stripped_and_granted_labels_stay(animals: Path) -> None:
    dataset = image_folder(path=str(animals), grant="train").without_truth()
    assert "label" not in dataset.samples
    assert dataset.labels("given_label", dataset.rows("train")).tolist() == np.repeat([0, 1, 2], 8).tolist()
    assert dataset.samples["given_label"].iloc[dataset.rows("test")].isna().all()


def test_class_folders_and_test_share(animals: Path) -> None:
    assert set(image_folder(path=str(animals / "train")).samples["split"]) == {"train"}
    dataset = image_folder(path=str(animals / "train"), test_share=0.25)
    assert np.bincount(dataset.labels("label", dataset.rows("test"))).tolist() == [2, 2, 2]


def test_a_flat_folder_has_no_labels(animals: Path) -> None:
    dataset = image_folder(path=str(animals / "train" / "cat"))
    dataset.check()
    assert len(dataset.samples) == 8
    assert "label" not in dataset.samples
    assert "class_names" not in dataset.meta
    with pytest.raises(ValueError, match=r"grant: .* has no labels for split 'train'; add them or remove 'grant'"):
        image_folder(path=str(animals / "train" / "cat"), grant="train")


def test_unlabeled_train_beside_labelled_test(animals: Path) -> None:
    for name in CLASSES:
        for file in (animals / "train" / name).iterdir():
            file.rename(animals / "train" / f"{name}-{file.name}")
        (animals / "train" / name).rmdir()
    dataset = image_folder(path=str(animals))
    assert dataset.samples["label"].iloc[dataset.rows("train")].isna().all()
    assert dataset.samples["label"].iloc[dataset.rows("test")].notna().all()


def test_a_class_may_be_called_train(animals: Path) -> None:
    (animals / "train" / "cat").rename(animals / "train" / "train")
    assert image_folder(path=str(animals / "train")).meta["class_names"] == ["dog", "eel", "train"]


def test_val_is_kept_apart(animals: Path) -> None:
    (animals / "test").rename(animals / "val")
    assert image_folder(path=str(animals)).samples["split"].value_counts().to_dict() == {"train": 24, "val": 12}


def test_images_stay_with_their_labels_under_all_draws(animals: Path) -> None:
    dataset = image_folder(path=str(animals / "train"), test_share=0.25, limit=9, imbalance=3.0, seed=4)
    assert dataset.arrays["images"][:, 0, 0, 0].tolist() == dataset.samples["label"].tolist()


def test_equal_seeds_are_bit_equal_and_others_differ(animals: Path) -> None:
    first, again, other = (image_folder(path=str(animals), limit=6, seed=seed) for seed in (0, 0, 1))
    assert first.arrays["images"].tobytes() == again.arrays["images"].tobytes()
    assert first.arrays["images"].tobytes() != other.arrays["images"].tobytes()


def test_only_chosen_files_are_decoded(animals: Path) -> None:
    kept = {tuple(pixel) for pixel in image_folder(path=str(animals), limit=3).arrays["images"][:3, 0, 0]}
    for index, name in enumerate(CLASSES):
        for number in range(8):
            if (index, number, 0) not in kept:
                (animals / "train" / name / f"{number}.png").write_bytes(b"")
    image_folder(path=str(animals), limit=3)


def test_grey_and_image_size(animals: Path) -> None:
    assert image_folder(path=str(animals), image_size=4, grey=True).arrays["images"].shape == (36, 4, 4, 1)
    assert image_folder(path=str(animals), image_size=[3, 5], fit="crop").arrays["images"].shape == (36, 3, 5, 3)


def test_missing_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"path: {tmp_path}/data/none does not exist; put the data set there"):
        image_folder(path="data/none")


def test_path_is_a_file(animals: Path) -> None:
    with pytest.raises(ValueError, match=r"path: .*0.png: Not a directory"):
        image_folder(path=str(animals / "train" / "cat" / "0.png"))


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: .* holds no image \(.bmp, .*\); add images or delete it"):
        image_folder(path=str(tmp_path))


def test_empty_class(animals: Path) -> None:
    (animals / "train" / "fox").mkdir()
    with pytest.raises(ValueError, match=r"path: .*train/fox holds no image"):
        image_folder(path=str(animals))


def test_empty_split(animals: Path) -> None:
    for file in (animals / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(ValueError, match=r"test/cat holds no image"):
        image_folder(path=str(animals))


def test_test_without_train(animals: Path) -> None:
    (animals / "train").rename(animals.parent / f"{animals.name}-elsewhere")
    with pytest.raises(FileNotFoundError, match=r"train does not exist; add it beside test/"):
        image_folder(path=str(animals))


def test_folder_beside_splits(animals: Path) -> None:
    (animals / "extra").mkdir()
    with pytest.raises(ValueError, match=r"holds extra/ beside train/ and other splits"):
        image_folder(path=str(animals))


def test_images_beside_classes(animals: Path, write_image: Callable) -> None:
    write_image(animals / "train" / "stray.png")
    with pytest.raises(ValueError, match=r"holds both images \(stray.png\) and folders \(cat/\)"):
        image_folder(path=str(animals))


def test_test_share_beside_a_test_split(animals: Path) -> None:
    with pytest.raises(ValueError, match=r"test_share: .* has a test split already; remove 'test_share'"):
        image_folder(path=str(animals), test_share=0.5)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image(animals: Path, suffix: str, write_image: Callable, cut: Callable) -> None:
    path = cut(write_image(animals / "train" / "cat" / f"broken.{suffix}", size=(40, 40)))
    with pytest.raises(ValueError, match=rf"path: {path} is damaged or cut short .*; restore or delete it") as caught:
        image_folder(path=str(animals), image_size=8)
    assert "\n" not in str(caught.value)


def test_sizes_differ(animals: Path, write_image: Callable) -> None:
    path = write_image(animals / "train" / "dog" / "wide.png", size=(6, 9))
    with pytest.raises(ValueError, match=rf"image_size: {path} is 9x6 but .* is 8x6; give 'image_size'"):
        image_folder(path=str(animals))


@pytest.mark.parametrize("keys", [{"grant": "train"}, {"imbalance": 10.0}])
def test_one_class_only(animals: Path, keys: dict) -> None:
    (animals / "one").mkdir()
    (animals / "train" / "cat").rename(animals / "one" / "cat")
    with pytest.raises(ValueError, match=rf"{next(iter(keys))}: .* has only one class in split 'train'"):
        image_folder(path=str(animals / "one"), **keys)


def test_no_permission(open_folder: Path, write_image: Callable, forbidden: Callable) -> None:
    file = write_image(open_folder / "cat" / "1.png")
    write_image(open_folder / "dog" / "1.png")
    with forbidden(file), pytest.raises(ValueError, match=rf"path: no permission to read {file}; grant it"):
        image_folder(path=str(open_folder))
    with forbidden(open_folder / "cat"), pytest.raises(ValueError, match=r"path: no permission to read .*/cat; grant"):
        image_folder(path=str(open_folder))
    with forbidden(open_folder), pytest.raises(ValueError, match=rf"path: no permission to read {open_folder}"):
        image_folder(path=str(open_folder))


def test_cifar_images(real_data: Path) -> None:
    folder = real_data / "cifar-10-subset"
    dataset = image_folder(path=str(folder), limit=200, grant="train")
    dataset.check()
    assert dataset.arrays["images"].shape == (400, 32, 32, 3)
    assert dataset.meta["class_names"][:3] == ["airplane", "automobile", "bird"]
    assert dataset.samples.groupby("split")["label"].value_counts().eq(20).all()
    whole = image_folder(path=str(folder / "test"), imbalance=10.0)
    counts = whole.samples["label"].value_counts()
    assert (counts.max(), counts.min()) == (100, 10)
    with Image.open(
        folder / "test" / "airplane" / sorted(p.name for p in (folder / "test" / "airplane").iterdir())[0]
    ) as first:
        assert np.array_equal(image_folder(path=str(folder / "test")).arrays["images"][0], np.asarray(first))
