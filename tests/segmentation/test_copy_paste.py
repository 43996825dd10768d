"""Copy-paste augmentation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.segmentation.copy_paste import Batch, CopyPaste, copy_paste, hides_less_than_half


def _batch(seed=0, images=4, size=24, objects=3):
    """Objects of one colour each; the colour says image and category."""
    rng = np.random.default_rng(seed)
    pictures = np.zeros((images, size, size, 3), dtype=np.float32)
    instance = np.zeros((images, size, size), dtype=np.int32)
    category = np.full((images, size, size), -1, dtype=np.int64)
    semantic = np.full((images, size, size), 2, dtype=np.uint8)
    for image in range(images):
        for number in range(1, objects + 1):
            y, x = rng.integers(0, size - 8, 2)
            window = image, slice(y, y + 8), slice(x, x + 8)
            pictures[window] = (image + 1) / 8, number / 8, 0.5
            instance[window], category[window], semantic[window] = number, 10 * image + number, 0
    return Batch(pictures, instance, category, semantic)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_maps_agree_after_pasting(seed):
    before = _batch(seed)
    after = copy_paste(before, CopyPaste(rate=1.0, scale=[0.3, 1.0]), np.random.default_rng(seed))
    for image in range(4):
        thing = after.instance_BHW[image] > 0
        assert ((after.semantic_BHW[image] == 0) == thing).all()
        assert ((after.category_BHW[image] >= 0) == thing).all()
        for number in np.unique(after.instance_BHW[image][thing]):
            categories = np.unique(after.category_BHW[image][after.instance_BHW[image] == number])
            assert len(categories) == 1
            source = categories[0] // 10
            assert (number > before.instance_BHW[image].max()) == (source != image)
        changed = after.instance_BHW[image] != before.instance_BHW[image]
        same = np.isclose(after.images_BHWC[image], before.images_BHWC[image]).all(axis=-1)
        assert same[~changed].all()
        # No existing object lost half of itself to any one pasted piece, nor gained a pixel.
        for number in np.unique(before.instance_BHW[image]):
            mask = before.instance_BHW[image] == number
            if number > 0:
                assert not ((after.instance_BHW[image] == number) & ~mask).any()
                taken, count = np.unique(after.instance_BHW[image][mask], return_counts=True)
                assert (count[taken != number] < mask.sum() / 2).all()


def test_pasted_pixels_carry_the_colour_and_category_of_the_source():
    before = _batch(1)
    after = copy_paste(before, CopyPaste(rate=1.0, scale=[1.0, 1.0]), np.random.default_rng(0))
    pasted = after.instance_BHW != before.instance_BHW
    assert pasted.any()
    source = after.category_BHW[pasted] // 10
    assert after.images_BHWC[pasted][:, 0] == pytest.approx((source + 1) / 8)
    assert (source != np.nonzero(pasted)[0]).all()


def test_objects_shrink_by_the_factor():
    before = _batch(2, images=2, objects=1)
    before.instance_BHW[0], before.category_BHW[0], before.semantic_BHW[0] = 0, -1, 2
    after = copy_paste(before, CopyPaste(rate=1.0, scale=[0.5, 0.5]), np.random.default_rng(0))
    assert (after.instance_BHW[0] > 0).sum() == 16
    assert (after.instance_BHW[1] == before.instance_BHW[1]).all()  # the other image had nothing to give


def test_at_most_all_but_one_object_is_pasted():
    before = _batch(3, images=2, objects=3)
    before.instance_BHW[0], before.category_BHW[0], before.semantic_BHW[0] = 0, -1, 2
    counts = set()
    for seed in range(30):
        after = copy_paste(before, CopyPaste(rate=1.0, scale=[1.0, 1.0]), np.random.default_rng(seed))
        counts.add(len(np.unique(after.instance_BHW[0])) - 1)
    assert counts == {1, 2}


def test_rate_zero_changes_nothing_and_the_input_is_never_written_to():
    before = _batch()
    kept = [np.array(a) for a in vars(before).values()]
    after = copy_paste(before, CopyPaste(rate=0.0), np.random.default_rng(0))
    copy_paste(before, CopyPaste(rate=1.0), np.random.default_rng(0))
    for was, same, now in zip(kept, vars(before).values(), vars(after).values(), strict=True):
        assert (was == same).all()
        assert (was == now).all()


def test_a_piece_that_hides_half_of_an_object_is_refused():
    existing = np.zeros((4, 4), dtype=int)
    existing[0], existing[1] = 1, 2
    piece = np.zeros((4, 4), dtype=bool)
    piece[0, :2] = True  # two of four pixels are half
    assert not hides_less_than_half(piece, existing, existing)
    piece[0, 1] = False
    assert hides_less_than_half(piece, existing, existing)


@pytest.mark.parametrize("bad", [{"rate": 1.5}, {"scale": [0.5]}, {"scale": [0.0, 1.0]}, {"scale": [0.5, 1.1]}])
def test_bad_settings(bad):
    with pytest.raises(ValidationError):
        CopyPaste(**bad)
