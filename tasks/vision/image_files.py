"""Image and mask files as arrays of one size.

Shape legend: n images, H height, W width, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from tasks import progress
from tasks.readers.paths import entries, reading

Side = Annotated[int, Field(ge=1)]
ImageSize = Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
Fit = Literal["stretch", "crop", "pad"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
VOID = 255
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_REPORT_EVERY = 64


def image_paths(folder: Path) -> list[Path]:
    """Image files directly in `folder`, in the order of their names."""
    return [entry for entry in entries(folder) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def open_image(path: Path) -> Image.Image:
    """The decoded file in its own mode, turned upright as its EXIF orientation says.

    Raises ValueError naming a file that is damaged, cut short or deeper than 8 bits.
    """
    with reading(path):
        try:
            with Image.open(path) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except _DAMAGED as error:
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error).splitlines()[0]
            raise ValueError(f"path: {path} is damaged or cut short ({reason}); restore or delete it") from error
    return upright


def open_picture(path: Path, grey: bool) -> Image.Image:
    """The file as 8-bit RGB, or as luminance if `grey`."""
    image = open_image(path)
    # PIL clips deeper values at 255 without a word.
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"path: {path} has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    return image.convert("L" if grey else "RGB")


def open_index_map(path: Path) -> np.ndarray:
    """A one-channel map of class or instance indices [H, W] int32; palettes give their indices."""
    image = open_image(path)
    if image.mode not in ("L", "P", "1", "I", "I;16"):
        raise ValueError(f"path: {path} has mode {image.mode}, not one index per pixel; save it as an 8-bit index map")
    return np.asarray(image).astype(np.int32)


def height_width(size: ImageSize) -> tuple[int, int]:
    """(H, W) of the key `image_size`."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def fit_picture(image: Image.Image, size: ImageSize | None, fit: Fit) -> np.ndarray:
    """`image` at `size` as uint8 [H, W, C], antialiased."""
    if size is not None:
        image = _fitted(image, size, fit, Image.Resampling.BILINEAR, 0)
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def fit_map(index_HW: np.ndarray, size: ImageSize | None, fit: Fit, fill: int) -> np.ndarray:
    """An index map at `size`, nearest neighbour; what `pad` adds is `fill`. Same geometry as `fit_picture`."""
    if size is None:
        return index_HW
    image = Image.fromarray(index_HW.astype(np.int32))
    return np.asarray(_fitted(image, size, fit, Image.Resampling.NEAREST, fill))


def _fitted(image: Image.Image, size: ImageSize, fit: Fit, resample: Image.Resampling, fill: int) -> Image.Image:
    height, width = height_width(size)
    if fit == "stretch":
        return image.resize((width, height), resample)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), resample)
    color = (fill,) * 3 if image.mode == "RGB" else fill
    return ImageOps.pad(image, (width, height), resample, color=color)


def read_pictures(paths: Sequence[Path], *, size: ImageSize | None, fit: Fit, grey: bool) -> np.ndarray:
    """All files as uint8 [n, H, W, C]; without `size` they must have one size."""
    return stack_pictures(paths, (fit_picture(open_picture(path, grey), size, fit) for path in paths))


def stack_pictures(paths: Sequence[Path], pictures: Iterable[np.ndarray]) -> np.ndarray:
    """One array of all `pictures`, filled as they come; ValueError names the first of another size."""
    stack: np.ndarray = np.empty((0, 0, 0, 0), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        if index == 0:
            stack = np.empty((len(paths), *picture.shape), dtype=picture.dtype)
        if picture.shape != stack.shape[1:]:
            first = f"{stack.shape[2]}x{stack.shape[1]}"
            raise ValueError(
                f"image_size: {paths[index]} is {picture.shape[1]}x{picture.shape[0]} but {paths[0]} is {first}; "
                "give 'image_size' to bring all to one size"
            )
        stack[index] = picture
        if (index + 1) % _REPORT_EVERY == 0 or index + 1 == len(paths):
            progress.report(index + 1, len(paths))
    return stack


def grey_images(images_nHWC: np.ndarray) -> np.ndarray:
    """Luminance [n, H, W, 1] of colour images (ITU-R 601, as PIL rounds it); grey images are returned as they are."""
    n, height, width, channels = images_nHWC.shape
    if channels == 1:
        return images_nHWC
    if images_nHWC.dtype == np.uint8:
        column = Image.fromarray(np.ascontiguousarray(images_nHWC).reshape(n * height, width, 3))
        return np.asarray(column.convert("L")).reshape(n, height, width, 1)
    return (images_nHWC @ np.array([0.299, 0.587, 0.114], dtype=images_nHWC.dtype))[..., None]


def resize_images(images_nHWC: np.ndarray, size: ImageSize) -> np.ndarray:
    """Images stretched to `size`, antialiased; uint8 or float32, any number of channels."""
    height, width = height_width(size)
    n, _, _, channels = images_nHWC.shape
    resized = np.empty((n, height, width, channels), dtype=images_nHWC.dtype)
    for index in range(n):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(images_nHWC[index, :, :, channel]))
            resized[index, :, :, channel] = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
    return resized
