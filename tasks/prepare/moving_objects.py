"""Rendered clips of one object that moves, or stands still, before a background, with the object's mask.

Shape legend: F frames, T frames of a clip, H, W pixels.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Dataset
from tasks.vision.stuff_and_things import THING_RGB, THINGS, background, inside_thing, own_coordinates, pattern

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
_RADIUS = (0.12, 0.22)  # share of the width
_SPEED = (0.3, 3.0)  # pixels per frame
_TURN = 0.06  # radians per frame
_BORDER = (0.1, 0.9)  # share of the width at which the object bounces
_RECTANGLE = (6, 16)  # pixels
_CANVAS = 1.5  # size of the background in image sizes
_GAIN, _NOISE = 0.03, 0.03


def moving_objects(
    *,
    n_clips_train: Annotated[int, Field(ge=1)],
    n_clips_test: Count,
    n_clips_extra: Count = 0,
    frames: Annotated[int, Field(ge=1)] = 8,
    image_size: Annotated[int, Field(ge=32)] = 64,
    still_train: Share = 0.25,
    still_test: Share = 0.5,
    still_extra: Share = 0.5,
    position: Annotated[list[Share], Field(min_length=2, max_length=2)] = [0.15, 0.85],  # noqa: B006  (never changed)
    share_color: Share = 0.3,
    pan: Annotated[float, Field(ge=0)] = 1.0,
    two_stuff: Share = 0.5,
    seed: int = 0,
) -> Dataset:
    """Short clips, a stand-in for web video (YouTube-Objects) in which the background moves too.

    A background 1.5 times as large as the image, of one or two of the textures of `panoptic_scenes`, with one to three
    coloured rectangles of 6-15 pixels on it, is seen through a panning window. Before it one object (disk, square,
    triangle, ring; radius 0.12-0.22 of the width) moves at 0.3-3 pixels per frame, bounces at 10 % and 90 % of
    the image and turns by up to 0.06 rad per frame. Every frame has a gain 1 + N(0, 0.03) and pixel noise 0.03.

    Parameters
    ----------
    n_clips_train, n_clips_test, n_clips_extra: clips of the splits; `extra` is more data without labels.
    frames: frames per clip. image_size: height and width in pixels.
    still_train, still_test, still_extra: probability that neither camera nor object moves in a clip.
    position: [low, high], range of the object's first centre in shares of the width. Centred objects would let
        a centre prior alone find them.
    share_color: probability that a rectangle has the object's colour, +- 0.08.
    pan: largest speed of the camera in pixels per frame.
    two_stuff: probability of a second texture below a wavy horizon.
    seed: seed of all draws. A clip depends on the seed and its place in its split alone.

    Returns `images` uint8 [F, H, W, 3], `clip` int64 [F] and, as truth, `foreground` uint8 [F, H, W] (1: object) and
    `still` bool [F].

    Raises ValueError if `position` is not [low, high].
    """
    if position[0] > position[1]:
        raise ValueError(f"position: {position} must be [low, high]")
    counts = {"train": n_clips_train, "extra": n_clips_extra, "test": n_clips_test}
    shares = {"train": still_train, "extra": still_extra, "test": still_test}
    clips, total = sum(counts.values()), sum(counts.values()) * frames
    images = np.empty((total, image_size, image_size, 3), dtype=np.uint8)
    foreground = np.empty((total, image_size, image_size), dtype=np.uint8)
    still = np.empty(total, dtype=bool)
    done = 0
    for stream, (split, count) in enumerate(counts.items()):
        for index in range(count):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))
            stands = bool(rng.random() < shares[split])
            rows = slice(done * frames, (done + 1) * frames)
            images[rows], foreground[rows] = _clip(
                frames, image_size, stands, (position[0], position[1]), share_color, pan, two_stuff, rng
            )
            still[rows] = stands
            done += 1
            if done % 25 == 0 or done == clips:
                progress.report(done, clips)
    split = np.repeat([name for name, count in counts.items() for _ in range(count)], frames)
    samples = pd.DataFrame({"sample": np.arange(total), "split": pd.Series(split, dtype="str")})
    arrays = {"images": images, "clip": np.repeat(np.arange(clips), frames), "foreground": foreground, "still": still}
    return Dataset({"samples": samples}, arrays, meta={"truth": ["foreground", "still"]})


def _clip(
    frames: int,
    size: int,
    still: bool,
    position: tuple[float, float],
    share_color: float,
    pan: float,
    two_stuff: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, H, W, 3] and masks uint8 [T, H, W] of one clip."""
    kind = int(rng.integers(len(THINGS)))
    colour = THING_RGB[kind] + rng.normal(0, 0.06, 3)
    canvas, _ = background(int(_CANVAS * size), two_stuff, rng)
    for _ in range(rng.integers(1, 4)):
        shared = rng.random() < share_color
        paint = colour + rng.uniform(-0.08, 0.08, 3) if shared else rng.uniform(0.05, 0.95, 3)
        height, width = rng.integers(*_RECTANGLE, 2)
        top, left = rng.integers(0, len(canvas) - height), rng.integers(0, len(canvas) - width)
        canvas[top : top + height, left : left + width] = paint
    window = rng.uniform(0, len(canvas) - size, 2)
    camera = rng.uniform(-pan, pan, 2)
    radius, angle = rng.uniform(*_RADIUS) * size, rng.uniform(0, 2 * np.pi)
    centre, heading = rng.uniform(*position, 2) * size, rng.uniform(0, 2 * np.pi)
    velocity = rng.uniform(*_SPEED) * np.array([np.sin(heading), np.cos(heading)])
    turn = rng.uniform(-_TURN, _TURN)
    if still:
        camera, velocity, turn = np.zeros(2), np.zeros(2), 0.0
    images = np.empty((frames, size, size, 3), dtype=np.uint8)
    masks = np.empty((frames, size, size), dtype=np.uint8)
    for t in range(frames):
        top, left = np.clip(window + t * camera, 0, len(canvas) - size).round().astype(int)
        image = canvas[top : top + size, left : left + size].copy()
        u, v = own_coordinates(size, centre[0], centre[1], angle)
        mask = inside_thing(kind, u, v, radius)
        image[mask] = (colour + pattern(kind, u, v)[..., None])[mask]
        image = image * (1 + rng.normal(0, _GAIN)) + rng.normal(0, _NOISE, image.shape)
        images[t], masks[t] = (np.clip(image, 0, 1) * 255).round(), mask
        centre, velocity = _bounced(centre + velocity, velocity, size)
        angle += turn
    return images, masks


def _bounced(centre: np.ndarray, velocity: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and velocity after reflection at the borders that the centre has passed on its way out."""
    low, high = _BORDER[0] * size, _BORDER[1] * size
    out = ((centre < low) & (velocity < 0)) | ((centre > high) & (velocity > 0))
    return np.where(out, np.clip(centre, low, high), centre), np.where(out, -velocity, velocity)
