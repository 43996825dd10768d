"""Reader `video_folder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.prepare.video_folder import video_folder


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], dtype=np.uint8), (6, 8))


@pytest.fixture
def videos(tmp_path: Path, write_image: Callable) -> Path:
    """Three clips of 4, 4 and 5 frames with masks; the frames of clip c have the grey value 10 c + t."""
    for c, (name, count) in enumerate({"cat": 4, "dog": 4, "owl": 5}.items()):
        for t in range(count):
            write_image(tmp_path / "JPEGImages" / name / f"{t:05d}.png", np.full((6, 8, 3), 10 * c + t, np.uint8))
            write_image(tmp_path / "Annotations" / name / f"{t:05d}.png", mask(10 * c + t))
    (tmp_path / "train.txt").write_text("dog\ncat\n\n")
    (tmp_path / "test.txt").write_text("owl\n")
    return tmp_path


def test_davis_layout(videos: Path) -> None:
    dataset = video_folder(path=str(videos), train="train.txt", test="test.txt")
    dataset.check()
    assert dataset.arrays["images"][:, 0, 0, 0].tolist() == [10, 11, 12, 13, 0, 1, 2, 3, 20, 21, 22, 23, 24]
    assert dataset.arrays["clip"].tolist() == [0] * 4 + [1] * 4 + [2] * 5
    assert dataset.samples["split"].tolist() == ["train"] * 8 + ["test"] * 5
    assert dataset.meta == {"clips": ["dog", "cat", "owl"], "truth": ["foreground"]}
    expected = [mask(v) for v in dataset.arrays["images"][:, 0, 0, 0]]
    assert np.array_equal(dataset.arrays["foreground"], expected)
    assert dataset.arrays["foreground"].dtype == np.uint8
    assert set(dataset.without_truth().arrays) == {"images", "clip"}


def test_without_lists_every_clip_is_train_and_shares_split_by_clip(videos: Path) -> None:
    assert set(video_folder(path=str(videos)).samples["split"]) == {"train"}
    dataset = video_folder(path=str(videos), test_share=0.4, seed=1)
    clip, split = dataset.arrays["clip"], dataset.samples["split"].to_numpy()
    assert sorted(len(set(split[clip == c])) for c in np.unique(clip)) == [1, 1, 1]
    assert set(split) == {"train", "test"}


def test_every_and_limit(videos: Path) -> None:
    dataset = video_folder(path=str(videos), train="train.txt", test="test.txt", every=2, limit=1)
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 2, "test": 3}
    assert dataset.arrays["images"][-3:, 0, 0, 0].tolist() == [20, 22, 24]


def test_a_frame_without_a_mask_is_void(videos: Path) -> None:
    (videos / "Annotations" / "cat" / "00002.png").unlink()
    foreground = video_folder(path=str(videos)).arrays["foreground"]
    assert (foreground[2] == 255).all()
    assert (foreground[3] != 255).any()


def test_binary_masks_of_0_and_255(videos: Path, write_image: Callable) -> None:
    values = np.zeros((6, 8), dtype=np.uint8)
    values[2:4] = 255
    write_image(videos / "Annotations" / "cat" / "00000.png", values)
    assert np.array_equal(video_folder(path=str(videos)).arrays["foreground"][0], values // 255)


def test_without_masks(videos: Path) -> None:
    dataset = video_folder(path=str(videos), masks=None)
    dataset.check()
    assert set(dataset.arrays) == {"images", "clip"}
    assert dataset.meta["truth"] == []


def test_sizes(videos: Path, write_image: Callable) -> None:
    for t in range(5):
        write_image(videos / "JPEGImages" / "owl" / f"{t:05d}.png", np.zeros((12, 16, 3), np.uint8))
        write_image(videos / "Annotations" / "owl" / f"{t:05d}.png", np.zeros((12, 16), np.uint8))
    with pytest.raises(ValueError, match=r"image_size: .*owl/00000.png is 16x12 but .* is 8x6; give 'image_size'"):
        video_folder(path=str(videos))
    dataset = video_folder(path=str(videos), image_size=[6, 8])
    assert dataset.arrays["foreground"].shape == (13, 6, 8)
    padded = video_folder(path=str(videos), image_size=8, fit="pad").arrays["foreground"]
    assert (padded[:, [0, 7]] == 255).all()


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda f: (f / "train.txt").unlink(), FileNotFoundError, "train.txt does not exist; correct 'train' or 'test'"),
        (lambda f: (f / "train.txt").write_text("\n"), ValueError, "train.txt lists no clip"),
        (lambda f: (f / "train.txt").write_text("cat\nowl\n"), ValueError, "clip 'owl' is listed twice"),
        (lambda f: (f / "train.txt").write_text("cow\n"), FileNotFoundError, "cow does not exist; every clip of the lists"),
        (lambda f: (f / "JPEGImages/cat/00002.png").unlink(), FileNotFoundError, "00002.png has no frame 00002"),
        (lambda f: (f / "Annotations").rename(f / "x"), FileNotFoundError, "Annotations does not exist; correct 'masks'"),
        (lambda f: (f / "JPEGImages").rename(f / "x"), FileNotFoundError, "JPEGImages does not exist; correct 'images'"),
    ],
)  # fmt: skip
def test_what_is_missing(videos: Path, break_it: Callable, error: type[Exception], message: str) -> None:
    break_it(videos)
    with pytest.raises(error, match=message):
        video_folder(path=str(videos), train="train.txt", test="test.txt")


def test_a_clip_of_one_frame(videos: Path) -> None:
    with pytest.raises(ValueError, match=r"dog gives 1 frames; a clip needs 2 or more"):
        video_folder(path=str(videos), every=4, train="train.txt")


def test_no_clips(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(ValueError, match="holds no folder; put the frames of every clip into one"):
        video_folder(path=str(tmp_path))


def test_a_mask_of_another_size(videos: Path, write_image: Callable) -> None:
    path = write_image(videos / "Annotations" / "cat" / "00001.png", np.zeros((6, 7), dtype=np.uint8))
    with pytest.raises(ValueError, match=f"path: {path} is 7x6 but its image is 8x6"):
        video_folder(path=str(videos))


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations"])
def test_a_file_cut_short(videos: Path, folder: str, cut: Callable, write_image: Callable) -> None:
    path = videos / folder / "cat" / "00001.png"
    if folder == "JPEGImages":
        write_image(path, size=(6, 8))
    cut(path)
    with pytest.raises(ValueError, match=f"path: {path} is damaged or cut short"):
        video_folder(path=str(videos))


def test_davis(real_data: Path) -> None:
    dataset = video_folder(path=str(real_data / "davis-2016-subset"), image_size=[48, 80], test_share=0.3)
    dataset.check()
    assert len(set(dataset.arrays["clip"])) == 7
    share = (dataset.arrays["foreground"] == 1).mean(axis=(1, 2))
    assert set(np.unique(dataset.arrays["foreground"])) == {0, 1}
    assert 0.01 < share.mean() < 0.4
