"""Image files as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.vision.image_files import (
    fit_map,
    fit_picture,
    grey_images,
    image_paths,
    open_index_map,
    open_picture,
    read_pictures,
    resize_images,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def _saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "LA", "P", "1"])
def test_every_8_bit_mode_becomes_rgb_or_grey(tmp_path: Path, mode: str) -> None:
    path = _saved(Image.fromarray(RGB).convert(mode), tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}")
    assert open_picture(path, grey=False).mode == "RGB"
    assert open_picture(path, grey=True).mode == "L"


def test_16_bit_images_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    path = _saved(Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)), tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png has more than 8 bits per channel .* convert"):
        open_picture(path, grey=False)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    path = _saved(Image.fromarray(RGB), tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(open_picture(path, grey=False)), np.rot90(RGB, -1))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"x.jpg is damaged or cut short \(not an image\)"):
        open_picture(tmp_path / "x.jpg", grey=False)


def test_a_decompression_bomb_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(Image.fromarray(RGB), tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(ValueError, match=r"huge.png") as caught:
        open_picture(path, grey=False)
    assert "\n" not in str(caught.value)


def test_a_palette_map_gives_indices_not_colours(tmp_path: Path) -> None:
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([200, 10, 10] * 256)
    assert np.array_equal(open_index_map(_saved(image, tmp_path / "m.png")), indices)


def test_a_colour_image_is_no_index_map(tmp_path: Path) -> None:
    path = _saved(Image.fromarray(RGB), tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m.png has mode RGB, not one index per pixel"):
        open_index_map(path)


def test_listing_is_sorted_and_leaves_out_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "._a.jpeg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in image_paths(tmp_path)] == ["a.jpeg", "b.PNG"]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_map_gets_the_geometry_of_its_image(fit: str) -> None:
    truth = np.zeros((40, 60), dtype=np.int32)
    truth[10:30, 20:50] = 1
    image = Image.fromarray((truth * 255).astype(np.uint8))
    picture = fit_picture(image, [20, 20], fit)[..., 0]
    mask = fit_map(truth, [20, 20], fit, 255)
    assert picture.shape == mask.shape == (20, 20)
    inside = mask != 255
    # Antialiasing blurs a rim of one pixel: both must agree away from it.
    clear = inside & ((picture < 20) | (picture > 235))
    assert clear.sum() > 200
    assert np.array_equal(picture[clear] > 127, mask[clear] == 1)


def test_pad_fills_maps_with_the_given_value_and_images_with_black() -> None:
    mask = fit_map(np.ones((4, 8), dtype=np.int32), 8, "pad", 255)
    assert (mask[2:6] == 1).all()
    assert (mask[:2] == 255).all()
    assert (mask[6:] == 255).all()
    picture = fit_picture(Image.new("RGB", (8, 4), (9, 9, 9)), 8, "pad")
    assert (picture[:2] == 0).all()
    assert (picture[2:6] == 9).all()


def test_maps_never_mix_indices() -> None:
    truth = np.random.default_rng(1).choice([0, 7, 255, 4000], (37, 53))
    assert set(np.unique(fit_map(truth, [11, 17], "stretch", 255))) <= {0, 7, 255, 4000}


def test_images_of_several_sizes_need_image_size(tmp_path: Path) -> None:
    paths = [
        _saved(Image.new("RGB", (8, 6)), tmp_path / "a.png"),
        _saved(Image.new("RGB", (9, 6)), tmp_path / "b.png"),
    ]
    with pytest.raises(ValueError, match=r"image_size: .*b.png is 9x6 but .*a.png is 8x6; give 'image_size'"):
        read_pictures(paths, size=None, fit="stretch", grey=False)
    assert read_pictures(paths, size=[4, 5], fit="stretch", grey=False).shape == (2, 4, 5, 3)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((1, 64, 64, 1), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    assert np.abs(resize_images(stripes, 8).astype(int) - 127).max() <= 6


def test_resizing_keeps_dtype_channels_and_constant_images() -> None:
    constant = np.full((2, 6, 6, 3), 0.25, dtype=np.float32) * np.array([1, 2, 3], dtype=np.float32)
    resized = resize_images(constant, [3, 4])
    assert resized.dtype == np.float32
    assert np.allclose(resized, constant[:, :3, :4])


def test_grey_is_pils_luminance() -> None:
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(grey_images(np.stack([RGB, RGB]))[1, ..., 0], expected)
    as_float = grey_images(RGB[None].astype(np.float32))
    assert np.abs(as_float[0, ..., 0] - expected).max() <= 1
    assert grey_images(as_float) is as_float
