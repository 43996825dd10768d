"""Reader `coco`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tasks.prepare.coco import CocoFiles, coco

# pycocotools 2.0.11 was written for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEIGHT, WIDTH = 10, 12
CATEGORIES = [
    {"id": 3, "name": "dog", "supercategory": "animal", "isthing": 1},
    {"id": 1, "name": "cat", "supercategory": "animal", "isthing": 1},
    {"id": 9, "name": "grass", "supercategory": "plant", "isthing": 0},
    {"id": 12, "name": "bush", "supercategory": "plant", "isthing": 0},
]


def box(x: int, y: int, width: int, height: int) -> list[list[float]]:
    """A rectangle as a COCO polygon."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def write_json(path: Path, annotations: list[dict], *, images: int = 2, categories: list[dict] = CATEGORIES) -> Path:
    entries = [{"id": 70 + i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(images)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return path


def annotation(image: int, category: int, segmentation: object, *, crowd: int = 0, identifier: int = 1) -> dict:
    return {
        "id": identifier,
        "image_id": 70 + image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
    }


INSTANCES = CocoFiles(annotations="instances.json", images="photos")


@pytest.fixture
def photos(tmp_path: Path, write_image: Callable) -> Path:
    for index in range(2):
        write_image(tmp_path / "photos" / f"{index}.jpg", size=(HEIGHT, WIDTH), seed=index)
    return tmp_path


@pytest.fixture
def instances(photos: Path) -> Path:
    """Image 0: a large dog with a small cat on it, and a second dog as run lengths. Image 1: nothing."""
    runs = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    runs[8:, 9:] = 1
    compressed = coco_mask.encode(runs)
    compressed["counts"] = compressed["counts"].decode()
    write_json(
        photos / "instances.json",
        [annotation(0, 1, box(2, 2, 2, 2)), annotation(0, 3, box(0, 0, 8, 6)), annotation(0, 3, compressed)],
    )
    return photos


def test_instances(instances: Path) -> None:
    dataset = coco(path=str(instances), form="instances", train=INSTANCES)
    dataset.check()
    semantic, instance = dataset.arrays["semantic"], dataset.arrays["instance"]
    # Classes follow the category ids (1 cat, 3 dog), not their order in the file.
    assert dataset.meta["class_names"] == ["cat", "dog", "grass", "bush"]
    assert semantic.dtype == instance.dtype == np.int16
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[:6, :8], expected[8:, 9:], expected[2:4, 2:4] = 1, 1, 0
    assert np.array_equal(semantic[0], expected)
    assert (semantic[1] == 255).all()
    assert (instance[1] == 0).all()
    assert sorted(np.unique(instance[0], return_counts=True)[1].tolist()) == [4, 6, 44, 66]
    assert len(set(zip(semantic[0].flat, instance[0].flat, strict=True))) == 4
    assert dataset.meta["truth"] == ["instance", "semantic"]
    assert set(dataset.without_truth().arrays) == {"images"}


def test_uncompressed_run_lengths(photos: Path) -> None:
    # Column by column: 3 off, 7 on, rest off -> first column below row 3.
    runs = {"counts": [3, 7, HEIGHT * WIDTH - 10], "size": [HEIGHT, WIDTH]}
    write_json(photos / "instances.json", [annotation(0, 1, runs)])
    instance = coco(path=str(photos), form="instances", train=INSTANCES).arrays["instance"][0]
    assert np.argwhere(instance > 0).tolist() == [[row, 0] for row in range(3, 10)]


def test_crowds_are_void_and_lie_below_everything(photos: Path) -> None:
    write_json(
        photos / "instances.json", [annotation(0, 1, box(0, 0, 4, 4)), annotation(0, 3, box(2, 2, 2, 2), crowd=1)]
    )
    dataset = coco(path=str(photos), form="instances", train=INSTANCES, background="rest")
    assert (dataset.arrays["semantic"][0, :4, :4] == 0).all()
    write_json(
        photos / "instances.json", [annotation(0, 1, box(0, 0, 2, 2)), annotation(0, 3, box(4, 4, 2, 2), crowd=1)]
    )
    dataset = coco(path=str(photos), form="instances", train=INSTANCES, background="rest")
    assert (dataset.arrays["semantic"][0, 4:6, 4:6] == 255).all()
    assert dataset.arrays["instance"][0].max() == 1


def test_background_names_the_rest(instances: Path) -> None:
    dataset = coco(path=str(instances), form="instances", train=INSTANCES, background="rest")
    assert dataset.meta["class_names"] == ["cat", "dog", "grass", "bush", "rest"]
    assert (dataset.arrays["semantic"][1] == 4).all()
    known = coco(path=str(instances), form="instances", train=INSTANCES, background="grass")
    assert known.meta["class_names"] == ["cat", "dog", "grass", "bush"]
    assert 2 not in known.meta["thing_classes"]
    assert (known.arrays["semantic"][1] == 2).all()


def test_supercategories(instances: Path) -> None:
    stuff = coco(path=str(instances), form="instances", train=INSTANCES, supercategories="stuff")
    assert stuff.meta["class_names"] == ["cat", "dog", "plant"]
    assert stuff.meta["thing_classes"] == [0, 1]
    merged = coco(path=str(instances), form="instances", train=INSTANCES, supercategories="all")
    assert merged.meta["class_names"] == ["animal", "plant"]
    assert set(np.unique(merged.arrays["semantic"][0])) == {0, 255}
    assert merged.arrays["instance"][0].max() == 3


def test_pad_adds_void(instances: Path) -> None:
    dataset = coco(path=str(instances), form="instances", train=INSTANCES, background="rest", image_size=12, fit="pad")
    assert dataset.arrays["images"].shape == (2, 12, 12, 3)
    assert (dataset.arrays["semantic"][:, [0, 11]] == 255).all()
    assert (dataset.arrays["instance"][:, [0, 11]] == 0).all()


def test_test_files_and_shares(instances: Path) -> None:
    dataset = coco(path=str(instances), form="instances", train=INSTANCES, test=INSTANCES)
    assert dataset.samples["split"].tolist() == ["train", "train", "test", "test"]
    shared = coco(path=str(instances), form="instances", train=INSTANCES, test_share=0.5)
    assert shared.samples["split"].tolist() == ["train", "test"]
    assert len(coco(path=str(instances), form="instances", train=INSTANCES, limit=1).samples) == 1


PANOPTIC = CocoFiles(annotations="panoptic.json", images="photos", maps="panoptic")


@pytest.fixture
def panoptic(photos: Path, write_image: Callable) -> Path:
    """Two cats, one dog, grass and a crowd of dogs; ids above 255 and above 65535."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    ids[:5, :6], ids[:5, 6:], ids[5:8, :6], ids[5:8, 6:], ids[8, :] = 7, 300, 70_001, 5, 9
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    segments = [
        {"id": identifier, "category_id": category, "iscrowd": crowd}
        for identifier, category, crowd in ((7, 1, 0), (300, 1, 0), (70_001, 3, 0), (5, 9, 0), (9, 3, 1))
    ]
    for index in range(2):
        write_image(photos / "panoptic" / f"{index}.png", rgb)
    write_json(
        photos / "panoptic.json",
        [{"image_id": 70 + i, "file_name": f"{i}.png", "segments_info": segments} for i in range(2)],
    )
    return photos


def test_panoptic(panoptic: Path) -> None:
    dataset = coco(path=str(panoptic), form="panoptic", train=PANOPTIC)
    dataset.check()
    semantic, instance = dataset.arrays["semantic"][0], dataset.arrays["instance"][0]
    assert dataset.meta["thing_classes"] == [0, 1]
    assert (semantic[:5] == 0).all()
    assert (semantic[5:8, :6] == 1).all()
    assert (semantic[5:8, 6:] == 2).all()
    assert (semantic[8:] == 255).all()  # the crowd and the pixels without segment
    assert len({instance[0, 0], instance[0, 6], instance[5, 0]}) == 3
    assert instance.min() == 0
    assert (instance[(semantic == 2) | (semantic == 255)] == 0).all()


def test_panoptic_segment_that_nobody_describes(panoptic: Path, write_image: Callable) -> None:
    path = write_image(panoptic / "panoptic" / "1.png", np.full((HEIGHT, WIDTH, 3), 1, dtype=np.uint8))
    with pytest.raises(ValueError, match=rf"path: {path} holds segment 65793, which 'segments_info' lacks"):
        coco(path=str(panoptic), form="panoptic", train=PANOPTIC)


def test_panoptic_map_of_another_size(panoptic: Path, write_image: Callable) -> None:
    path = write_image(panoptic / "panoptic" / "1.png", size=(HEIGHT, WIDTH + 1))
    with pytest.raises(ValueError, match=rf"path: {path} is 13x10 but its image is 12x10; restore the pair"):
        coco(path=str(panoptic), form="panoptic", train=PANOPTIC, image_size=8)


def test_panoptic_without_annotation(panoptic: Path) -> None:
    content = json.loads((panoptic / "panoptic.json").read_text())
    content["annotations"].pop()
    (panoptic / "panoptic.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"panoptic.json: image 71 has 0 annotations, not 1"):
        coco(path=str(panoptic), form="panoptic", train=PANOPTIC)


STUFF = CocoFiles(annotations="stuff.json", images="photos", maps="pixelmaps")


@pytest.fixture
def stuff(photos: Path, write_image: Callable) -> Path:
    values = np.array([0, 9, 12, 183], dtype=np.uint8)[np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 4]
    for index in range(2):
        write_image(photos / "pixelmaps" / f"{index}.png", values)
    categories = [*CATEGORIES[2:], {"id": 183, "name": "other", "supercategory": "other"}]
    write_json(photos / "stuff.json", [], categories=[{**c, "isthing": 0} for c in categories])
    return photos


def test_stuff_maps(stuff: Path) -> None:
    dataset = coco(path=str(stuff), form="stuff", train=STUFF, void=[0, 183])
    dataset.check()
    assert dataset.meta == {"class_names": ["grass", "bush"], "thing_classes": [], "truth": ["semantic"]}
    assert dataset.arrays["semantic"][0, 0, :4].tolist() == [255, 0, 1, 255]
    merged = coco(path=str(stuff), form="stuff", train=STUFF, supercategories="stuff")
    assert merged.meta["class_names"] == ["plant", "other"]
    assert merged.arrays["semantic"][0, 0, :4].tolist() == [255, 0, 0, 1]


def test_unknown_category(stuff: Path, instances: Path) -> None:
    with pytest.raises(ValueError, match=r"0.png uses category 0, which 'categories' lacks"):
        coco(path=str(stuff), form="stuff", train=STUFF, void=[255])
    write_json(instances / "instances.json", [annotation(0, 44, box(0, 0, 2, 2))])
    with pytest.raises(ValueError, match=r"instances.json uses category 44, which 'categories' lacks"):
        coco(path=str(instances), form="instances", train=INSTANCES)


def test_missing(instances: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: .*/none does not exist; put the data set there"):
        coco(path=str(instances / "none"), form="instances", train=INSTANCES)
    with pytest.raises(FileNotFoundError, match=r"path: .*/other.json does not exist"):
        coco(path=str(instances), form="instances", train=CocoFiles(annotations="other.json"))
    with pytest.raises(FileNotFoundError, match=r"path: .*/0.jpg does not exist"):
        coco(path=str(instances), form="instances", train=CocoFiles(annotations="instances.json"))


def test_truncated_json(instances: Path, cut: Callable) -> None:
    path = cut(instances / "instances.json")
    with pytest.raises(ValueError, match=rf"path: {path} is not JSON or is cut short .*; download it again") as caught:
        coco(path=str(instances), form="instances", train=INSTANCES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "has no list 'images'"),
        ({"images": [], "annotations": [], "categories": CATEGORIES}, "has an empty list 'images'"),
        ({"images": [{"id": 1}], "annotations": [], "categories": CATEGORIES}, "entry 0 of 'images' lacks 'file_name'"),
    ],
)
def test_json_of_another_kind(instances: Path, content: object, message: str) -> None:
    (instances / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"path: .*instances.json.* {message}"):
        coco(path=str(instances), form="instances", train=INSTANCES)


@pytest.mark.parametrize("folder", ["photos/1.jpg", "panoptic/1.png"])
def test_truncated_image(panoptic: Path, folder: str, cut: Callable) -> None:
    path = cut(panoptic / folder)
    with pytest.raises(ValueError, match=rf"path: {path} is damaged or cut short"):
        coco(path=str(panoptic), form="panoptic", train=PANOPTIC)


def test_image_of_another_size_than_annotated(instances: Path, write_image: Callable) -> None:
    path = write_image(instances / "photos" / "1.jpg", size=(HEIGHT, 20))
    with pytest.raises(ValueError, match=rf"path: {path} is 20x10 but .* says 12x10"):
        coco(path=str(instances), form="instances", train=INSTANCES, image_size=8)


@pytest.mark.parametrize(
    "segmentation", [None, [], [[1.0, 2.0]], {"counts": "0", "size": [3, 3]}, {"size": [10, 12]}, [["a", "b", "c"] * 2]]
)
def test_bad_segmentation(instances: Path, segmentation: object) -> None:
    write_json(instances / "instances.json", [annotation(0, 1, segmentation, identifier=5)])
    with pytest.raises(ValueError, match=r"path: .*instances.json: annotation 5") as caught:
        coco(path=str(instances), form="instances", train=INSTANCES)
    assert "\n" not in str(caught.value)


def test_form_and_maps_must_fit(panoptic: Path, instances: Path) -> None:
    with pytest.raises(ValueError, match=r"form: 'panoptic' needs 'maps'"):
        coco(path=str(panoptic), form="panoptic", train=CocoFiles(annotations="panoptic.json", images="photos"))
    with pytest.raises(ValueError, match=r"form: 'instances' has no PNG maps; remove 'maps'"):
        coco(path=str(panoptic), form="instances", train=PANOPTIC)
    with pytest.raises(ValueError, match=r"has no 'segments_info', which form 'panoptic' needs; correct 'form'"):
        coco(path=str(instances), form="panoptic", train=INSTANCES.model_copy(update={"maps": "panoptic"}))


def test_annotation_of_an_unknown_image(instances: Path) -> None:
    write_json(instances / "instances.json", [annotation(9, 1, box(0, 0, 2, 2))])
    with pytest.raises(ValueError, match=r"annotations of image 79, which 'images' lacks"):
        coco(path=str(instances), form="instances", train=INSTANCES)


def test_train_and_test_of_different_categories(instances: Path) -> None:
    write_json(instances / "other.json", [], categories=CATEGORIES[:2])
    with pytest.raises(ValueError, match=r"annotations: 'train' and 'test' list different categories"):
        coco(
            path=str(instances),
            form="instances",
            train=INSTANCES,
            test=CocoFiles(annotations="other.json", images="photos"),
        )


def test_too_many_classes_and_missing_supercategory(instances: Path) -> None:
    many = [{"id": i, "name": str(i)} for i in range(300)]
    write_json(instances / "instances.json", [], categories=many)
    with pytest.raises(ValueError, match=r"supercategories: 300 classes, at most 255 fit"):
        coco(path=str(instances), form="instances", train=INSTANCES)
    with pytest.raises(ValueError, match=r"supercategories: category '0' has none"):
        coco(path=str(instances), form="instances", train=INSTANCES, supercategories="all")


def test_no_permission(open_folder: Path, write_image: Callable, forbidden: Callable) -> None:
    write_image(open_folder / "photos" / "0.jpg", size=(HEIGHT, WIDTH))
    path = write_json(open_folder / "instances.json", [], images=1)
    with forbidden(path), pytest.raises(ValueError, match=rf"path: no permission to read {path}; grant it"):
        coco(path=str(open_folder), form="instances", train=INSTANCES)


def test_three_photos_agree_with_their_voc_edition(real_data: Path) -> None:
    from tasks.prepare.segmentation_folder import MaskFolders, segmentation_folder

    dataset = coco(
        path=str(real_data / "coco-three"),
        form="instances",
        train=CocoFiles(annotations="annotations.json"),
        background="_background_",
        image_size=128,
    )
    dataset.check()
    names = dataset.meta["class_names"]
    assert dataset.meta["thing_classes"] == list(range(1, 21))
    voc = segmentation_folder(
        path=str(real_data / "voc-three"),
        train=MaskFolders(images="JPEGImages", masks="SegmentationClass", instances="SegmentationObject"),
        test=None,
        class_names=names,
        thing_classes=names[1:],
        image_size=128,
    )
    # COCO's file lists 2011_000003, 2011_000025, 2011_000006.
    for ours, theirs in enumerate((0, 2, 1)):
        known = voc.arrays["semantic"][theirs] != 255
        same = dataset.arrays["semantic"][ours] == voc.arrays["semantic"][theirs]
        assert same[known].mean() > 0.99
        assert len(np.unique(dataset.arrays["instance"][ours])) == len(np.unique(voc.arrays["instance"][theirs]))
