"""Reader `segmentation_folder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.prepare.segmentation_folder import MaskFolders, segmentation_folder

FOLDERS = {"train": "trainannot", "val": "valannot"}


def street_mask(seed: int) -> np.ndarray:
    """Values 0, 1, 2 and 11 (void) in an 8x12 map."""
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 11], dtype=np.uint8), (8, 12))


@pytest.fixture
def streets(tmp_path: Path, write_image: Callable) -> Path:
    for split, masks in FOLDERS.items():
        for number in range(4 if split == "train" else 2):
            mask = street_mask(number + 10 * (split == "val"))
            write_image(tmp_path / split / f"{number}.png", np.stack([mask * 20] * 3, axis=-1))
            write_image(tmp_path / masks / f"{number}.png", mask)
    return tmp_path


def test_camvid_layout(streets: Path) -> None:
    dataset = segmentation_folder(path=str(streets), class_names=["sky", "road", "car"], void=[11])
    dataset.check()
    semantic = dataset.arrays["semantic"]
    assert semantic.dtype == np.int16
    assert semantic.shape == (6, 8, 12)
    expected = np.stack([street_mask(seed) for seed in (0, 1, 2, 3, 10, 11)])
    assert np.array_equal(semantic, np.where(expected == 11, 255, expected))
    assert np.array_equal(dataset.arrays["images"][..., 0], expected * 20)
    assert dataset.samples["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert dataset.meta == {"class_names": ["sky", "road", "car"], "thing_classes": [], "truth": ["semantic"]}


def test_truth_is_stripped(streets: Path) -> None:
    dataset = segmentation_folder(path=str(streets), void=[11]).without_truth()
    assert set(dataset.arrays) == {"images"}


def test_class_names_default_to_the_values(streets: Path) -> None:
    assert segmentation_folder(path=str(streets), void=[11]).meta["class_names"] == ["0", "1", "2"]


def test_masks_are_resized_with_their_images_and_never_mixed(streets: Path) -> None:
    dataset = segmentation_folder(path=str(streets), void=[11], image_size=[4, 4])
    assert dataset.arrays["images"].shape == (6, 4, 4, 3)
    assert set(np.unique(dataset.arrays["semantic"])) <= {0, 1, 2, 255}
    padded = segmentation_folder(path=str(streets), void=[11], image_size=12, fit="pad")
    assert (padded.arrays["semantic"][:, [0, 1, 10, 11]] == 255).all()
    assert (padded.arrays["semantic"][:, 2:10] != 255).any()


def test_limit_and_test_share_keep_pairs_together(streets: Path) -> None:
    keys = {"path": str(streets), "test": None, "test_share": 0.5, "limit": 1, "void": [11]}
    first, again = (segmentation_folder(**keys, seed=3) for _ in range(2))
    assert first.samples["split"].tolist() == ["train", "test"]
    assert np.array_equal(first.arrays["images"], again.arrays["images"])
    values = first.arrays["images"][..., 0] // 20
    assert np.array_equal(first.arrays["semantic"], np.where(values == 11, 255, values))
    others = [segmentation_folder(**keys, seed=seed).arrays["images"] for seed in range(4)]
    assert any(not np.array_equal(first.arrays["images"], other) for other in others)


@pytest.fixture
def objects(tmp_path: Path, write_image: Callable) -> Path:
    """VOC's layout: class 1 has two objects (one has no class pixel below its border), class 0 is background."""
    classes = np.zeros((6, 6), dtype=np.uint8)
    classes[1:3, 1:3], classes[4:, 4:], classes[3, :] = 1, 1, 255
    numbers = np.zeros((6, 6), dtype=np.uint8)
    numbers[1:3, 1:3], numbers[4:, 4:], numbers[3, :] = 1, 2, 255
    write_image(tmp_path / "JPEGImages" / "a.png", size=(6, 6))
    write_image(tmp_path / "SegmentationClass" / "a.png", classes)
    write_image(tmp_path / "SegmentationObject" / "a.png", numbers)
    return tmp_path


VOC = MaskFolders(images="JPEGImages", masks="SegmentationClass", instances="SegmentationObject")


def test_object_masks(objects: Path) -> None:
    dataset = segmentation_folder(
        path=str(objects), train=VOC, test=None, class_names=["background", "cat"], thing_classes=["cat"]
    )
    dataset.check()
    instance, semantic = dataset.arrays["instance"][0], dataset.arrays["semantic"][0]
    assert instance.dtype == np.int16
    assert dataset.meta["thing_classes"] == [1]
    assert dataset.meta["truth"] == ["instance", "semantic"]
    assert [int((instance == number).sum()) for number in (1, 2)] == [4, 4]
    assert set(np.unique(instance)) == {0, 1, 2}
    assert (instance[semantic == 255] == 0).all()
    assert set(np.unique(semantic[instance > 0])) == {1}


def test_object_masks_need_thing_classes(objects: Path) -> None:
    with pytest.raises(ValueError, match=r"thing_classes: needed with 'instances'"):
        segmentation_folder(path=str(objects), train=VOC, test=None)
    with pytest.raises(ValueError, match=r"thing_classes: 'dog' is not in 'class_names'"):
        segmentation_folder(path=str(objects), train=VOC, test=None, class_names=["a", "b"], thing_classes=["dog"])
    with pytest.raises(ValueError, match=r"instances: given for one of 'train' and 'test' only"):
        segmentation_folder(path=str(objects), train=VOC)


def test_missing_path_and_folder(streets: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: .*/none does not exist; put the data set there"):
        segmentation_folder(path=str(streets / "none"))
    (streets / "valannot").rename(streets / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"path: .*/valannot does not exist; correct 'train' or 'test'"):
        segmentation_folder(path=str(streets))


def test_empty_split(streets: Path) -> None:
    for name in ("0.png", "1.png"):
        (streets / "val" / name).unlink()
    with pytest.raises(ValueError, match=r"path: .*/val holds no image; add images or correct 'train' and 'test'"):
        segmentation_folder(path=str(streets))


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_a_partner_is_missing(streets: Path, folder: str) -> None:
    (streets / folder / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"path: .*/2.png has no partner 2.\* in .*/{folder}; add it"):
        segmentation_folder(path=str(streets))


def test_two_files_of_one_name(streets: Path, write_image: Callable) -> None:
    write_image(streets / "train" / "2.jpg")
    with pytest.raises(ValueError, match=r"2.png and 2.jpg have one name; delete one"):
        segmentation_folder(path=str(streets))


def test_mask_of_another_size(streets: Path, write_image: Callable) -> None:
    path = write_image(streets / "trainannot" / "1.png", np.zeros((8, 11), dtype=np.uint8))
    with pytest.raises(ValueError, match=rf"path: {path} is 11x8 but its image is 12x8; restore the pair"):
        segmentation_folder(path=str(streets), void=[11], image_size=8)


def test_a_value_that_is_neither_class_nor_void(streets: Path) -> None:
    with pytest.raises(ValueError, match=r"trainannot/0.png holds value 11, .* 3 classes nor in 'void' \[255\]"):
        segmentation_folder(path=str(streets), class_names=["sky", "road", "car"])
    with pytest.raises(ValueError, match=r"holds value 2, which is neither one of 2 classes"):
        segmentation_folder(path=str(streets), class_names=["sky", "road"], void=[11])


def test_all_void(streets: Path) -> None:
    with pytest.raises(ValueError, match=r"void: every pixel of every mask is in"):
        segmentation_folder(path=str(streets), void=[0, 1, 2, 11])


def test_bad_void_and_too_many_classes(streets: Path) -> None:
    with pytest.raises(ValueError, match=r"void: \[-1\] holds a negative value"):
        segmentation_folder(path=str(streets), class_names=["a"], void=[-1])
    with pytest.raises(ValueError, match=r"class_names: 256 classes, expected 1 to 255"):
        segmentation_folder(path=str(streets), class_names=[str(i) for i in range(256)], void=[])


def test_a_colour_mask(streets: Path, write_image: Callable) -> None:
    path = write_image(streets / "trainannot" / "1.png", size=(8, 12))
    with pytest.raises(ValueError, match=rf"path: {path} has mode RGB, not one index per pixel"):
        segmentation_folder(path=str(streets), void=[11])


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_truncated_png(streets: Path, folder: str, cut: Callable) -> None:
    path = cut(streets / folder / "3.png")
    with pytest.raises(ValueError, match=rf"path: {path} is damaged or cut short"):
        segmentation_folder(path=str(streets), class_names=["sky", "road", "car"], void=[11])


def test_no_permission(open_folder: Path, write_image: Callable, forbidden: Callable) -> None:
    write_image(open_folder / "train" / "a.png", size=(4, 4))
    mask = write_image(open_folder / "trainannot" / "a.png", np.zeros((4, 4), dtype=np.uint8))
    with forbidden(mask), pytest.raises(ValueError, match=rf"path: no permission to read {mask}; grant it"):
        segmentation_folder(path=str(open_folder), test=None)


def test_camvid(real_data: Path) -> None:
    dataset = segmentation_folder(path=str(real_data / "camvid-subset"), void=[11], image_size=[48, 64], limit=20)
    dataset.check()
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 20, "test": 20}
    assert dataset.arrays["images"].shape == (40, 48, 64, 3)
    assert set(np.unique(dataset.arrays["semantic"])) == {*range(11), 255}
    # Void is a small share of a street scene; a wrong void value would make it vanish or flood.
    assert 0.01 < (dataset.arrays["semantic"] == 255).mean() < 0.1


def test_voc(real_data: Path) -> None:
    names = ["background", *(str(index) for index in range(1, 21))]
    dataset = segmentation_folder(
        path=str(real_data / "voc-three"),
        train=VOC,
        test=None,
        class_names=names,
        thing_classes=names[1:],
        image_size=96,
    )
    dataset.check()
    # Photo 2011_000003 shows two persons and a bottle.
    first = {
        (int(c), int(i))
        for c, i in zip(dataset.arrays["semantic"][0].flat, dataset.arrays["instance"][0].flat, strict=True)
    }
    assert {(15, 1), (15, 2), (5, 3), (0, 0), (255, 0)} == first
