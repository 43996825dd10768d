"""Generator `moving_objects`."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.prepare.moving_objects import _bounced, moving_objects


@pytest.fixture(scope="module")
def clips():
    return moving_objects(n_clips_train=30, n_clips_test=10, n_clips_extra=5, still_train=0.3)


def test_shapes_splits_and_truth(clips):
    clips.check()
    assert clips.arrays["images"].shape == (360, 64, 64, 3)
    assert clips.samples["split"].value_counts().to_dict() == {"train": 240, "extra": 40, "test": 80}
    assert np.array_equal(clips.arrays["clip"], np.repeat(np.arange(45), 8))
    assert set(np.unique(clips.arrays["foreground"])) == {0, 1}
    assert set(clips.without_truth().arrays) == {"images", "clip"}


def test_object_size_and_place(clips):
    masks = clips.arrays["foreground"].reshape(45, 8, 64, 64)
    area = masks.sum(axis=(2, 3))
    # The smallest thing is a ring or triangle of radius 7.7, cut by the border; the largest a disk of 14.1.
    assert 20 < area.min() < area.max() < 3.15 * 14.1**2


def test_still_clips_stand_still_and_others_move(clips):
    still = clips.arrays["still"].reshape(45, 8)
    assert (still == still[:, :1]).all()
    masks = clips.arrays["foreground"].reshape(45, 8, 64, 64)
    moves = (masks != masks[:, :1]).any(axis=(1, 2, 3))
    assert np.array_equal(moves, ~still[:, 0])
    assert 3 <= still[:30, 0].sum() <= 16


def test_frames_of_a_still_clip_differ_by_gain_and_noise_alone(clips):
    images = clips.arrays["images"].reshape(45, 8, 64, 64, 3)[clips.arrays["still"][::8]] / 255
    for clip in images:
        # Colours at 0 or 1 are clipped; the rest has the noise of two frames after the gain is taken out.
        inside = ((clip > 0.15) & (clip < 0.85)).all(axis=0)
        a, b = clip[0][inside], clip[1][inside]
        assert (a / a.mean() - b / b.mean()).std() * a.mean() == pytest.approx(0.03 * np.sqrt(2), rel=0.15)


def test_the_camera_pans_only_where_it_may():
    still = moving_objects(n_clips_train=6, n_clips_test=0, still_train=0, pan=0.0)
    moving = moving_objects(n_clips_train=6, n_clips_test=0, still_train=0, pan=3.0)

    def change_of_background(clips):
        images = clips.arrays["images"].reshape(6, 8, 64, 64, 3) / 255
        outside = ~clips.arrays["foreground"].astype(bool).reshape(6, 8, 64, 64).any(axis=1)
        return np.mean([np.abs(c[7] - c[0])[o].mean() for c, o in zip(images, outside, strict=True)])

    assert change_of_background(moving) > 1.3 * change_of_background(still)


def test_bouncing():
    centre, velocity = _bounced(np.array([5.0, 60.0]), np.array([-2.0, 3.0]), 64)
    assert centre == pytest.approx([6.4, 57.6])
    assert velocity.tolist() == [2.0, -3.0]
    # On its way back in it is left alone.
    centre, velocity = _bounced(np.array([5.0, 30.0]), np.array([2.0, 3.0]), 64)
    assert centre.tolist() == [5.0, 30.0]
    assert velocity.tolist() == [2.0, 3.0]


def test_more_clips_leave_the_first_ones_as_they_are():
    few, many = (moving_objects(n_clips_train=n, n_clips_test=n, seed=3) for n in (2, 4))
    assert np.array_equal(few.arrays["images"], many.arrays["images"][[*range(16), *range(32, 48)]])


def test_seeds():
    first, again, other = (moving_objects(n_clips_train=2, n_clips_test=0, seed=s).arrays for s in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["images"], other["images"])


def test_position_upside_down():
    with pytest.raises(ValueError, match=r"position: \[0.8, 0.2\] must be \[low, high\]"):
        moving_objects(n_clips_train=1, n_clips_test=0, position=[0.8, 0.2])
