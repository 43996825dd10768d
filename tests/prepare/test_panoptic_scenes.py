"""Scenes: what is drawn agrees with its truth, and depends on the seed alone."""

import numpy as np
import pytest

from tasks.prepare.panoptic_scenes import panoptic_scenes


@pytest.fixture(scope="module")
def scenes():
    dataset = panoptic_scenes(n_train=60, n_test=20, seed=3)
    dataset.check()
    return dataset


def test_shapes_splits_and_truth(scenes):
    assert scenes.arrays["images"].shape == (80, 64, 64, 3)
    assert scenes.arrays["images"].dtype == np.uint8
    assert scenes.arrays["semantic"].dtype == scenes.arrays["instance"].dtype == np.int16
    assert len(scenes.rows("train")) == 60
    assert len(scenes.rows("test")) == 20
    assert scenes.meta["thing_classes"] == [3, 4, 5, 6]
    assert len(scenes.meta["class_names"]) == 7
    assert set(scenes.without_truth().arrays) == {"images"}
    assert set(scenes.samples) == {"sample", "split"}


def test_instances_are_exactly_the_thing_pixels_and_numbered_without_gap(scenes):
    semantic, instance = scenes.arrays["semantic"], scenes.arrays["instance"]
    assert np.array_equal(semantic >= 3, instance > 0)
    for semantic_HW, instance_HW in zip(semantic, instance, strict=True):
        assert list(np.unique(instance_HW)) == list(range(instance_HW.max() + 1))
        assert 1 <= instance_HW.max() <= 3
        for number in range(1, instance_HW.max() + 1):
            assert len(np.unique(semantic_HW[instance_HW == number])) == 1
    assert set(np.unique(semantic)) == set(range(7))


def test_objects_keep_off_the_border(scenes):
    semantic = scenes.arrays["semantic"]
    border = np.ones((64, 64), dtype=bool)
    border[1:-1, 1:-1] = False
    # A triangle's apex reaches 1.3 r, the others stay within 1.21 r of a centre at least r + 1 from the border.
    assert not np.isin(semantic[:, border], [3, 6]).any()


def test_colours_tell_the_classes(scenes):
    images, semantic = scenes.arrays["images"] / 255, scenes.arrays["semantic"]
    means = np.array([images[semantic == c].mean(axis=0) for c in range(7)])
    expected = np.array(
        [[0.2, 0.55, 0.25], [0.25, 0.45, 0.75], [0.8, 0.72, 0.5], [0.8, 0.2, 0.2], [0.9, 0.8, 0.15], [0.55, 0.2, 0.65]]
    )
    assert np.abs(means[:6] - expected).max() < 0.05
    assert means[6].min() > 0.88


def test_share_of_scenes_with_two_kinds_of_stuff():
    assert all(
        len(np.unique(s[s < 3])) == 1 for s in panoptic_scenes(n_train=30, n_test=0, two_stuff=0).arrays["semantic"]
    )
    both = panoptic_scenes(n_train=30, n_test=0, two_stuff=1).arrays["semantic"]
    assert all(len(np.unique(s[s < 3])) == 2 for s in both)
    # One horizon: down every column the stuff changes once at most.
    for column in both.transpose(0, 2, 1).reshape(-1, 64):
        stuff = column[column < 3]
        assert (np.diff(stuff) != 0).sum() <= 1


def test_more_images_leave_the_first_ones_as_they_are():
    few, many = panoptic_scenes(n_train=3, n_test=2, seed=5), panoptic_scenes(n_train=6, n_test=4, seed=5)
    assert np.array_equal(few.arrays["images"], many.arrays["images"][[0, 1, 2, 6, 7]])


def test_equal_seeds_give_equal_bits_and_others_do_not():
    first, again, other = (panoptic_scenes(n_train=4, n_test=1, seed=s) for s in (1, 1, 2))
    for name, array in first.arrays.items():
        assert np.array_equal(array, again.arrays[name])
    assert not np.array_equal(first.arrays["images"], other.arrays["images"])


def test_crowded_scenes_hide_no_number():
    instance = panoptic_scenes(n_train=10, n_test=0, image_size=32, max_objects=12).arrays["instance"]
    assert all(list(np.unique(i)) == list(range(i.max() + 1)) for i in instance)
