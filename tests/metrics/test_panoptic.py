"""Panoptic quality against torchmetrics, brute force and values worked out by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.detection import panoptic_quality

from tasks.metrics.panoptic import panoptic_counts, predicted_map, true_map

STUFF, THINGS, CLASSES = [0, 1], [2, 3], 4


def _random_scene(rng, void):
    """Blocks of 4x4 pixels, so that matches happen: semantic [16, 16] and instance [16, 16]."""
    semantic = rng.integers(0, CLASSES, (4, 4))
    instance = np.where(semantic >= 2, rng.integers(1, 3, (4, 4)), 0)
    semantic = np.where(rng.random((4, 4)) < void, 255, semantic)
    grow = np.ones((4, 4), dtype=int)
    return np.kron(semantic, grow), np.kron(np.where(semantic == 255, 0, instance), grow)


def _disturbed(rng, semantic, instance):
    semantic, instance = semantic.copy(), instance.copy()
    semantic[semantic == 255], other = 0, rng.integers(0, CLASSES, semantic.shape)
    flip = rng.random(semantic.shape) < 0.15
    semantic = np.where(flip, other, semantic)
    return semantic, np.where(semantic >= 2, np.maximum(instance, 1), 0)


def _counts(scenes):
    return panoptic_counts(
        [(true_map(*predicted, THINGS, CLASSES), true_map(*truth, THINGS, CLASSES)) for predicted, truth in scenes],
        CLASSES,
    )


@pytest.mark.parametrize("void", [0.0, 0.3])
def test_equal_to_torchmetrics(void):
    rng = np.random.default_rng(3)
    truths = [_random_scene(rng, void) for _ in range(12)]
    scenes = [(_disturbed(rng, *truth), truth) for truth in truths]
    predicted = torch.from_numpy(np.stack([np.stack(p, axis=-1) for p, _ in scenes]))
    # torchmetrics takes any unknown category as void.
    target = torch.from_numpy(np.stack([np.stack(t, axis=-1) for _, t in scenes]))
    reference = panoptic_quality(
        predicted, target, set(THINGS), set(STUFF), allow_unknown_preds_category=True, return_per_class=True,
        return_sq_and_rq=True,
    )  # fmt: skip
    # Columns come in the order things, stuff.
    pq, sq, rq = _counts(scenes).quality()
    order = THINGS + STUFF
    for ours, theirs in zip((pq, sq, rq), np.asarray(reference).reshape(-1, 3).T, strict=True):
        assert ours[order] == pytest.approx(theirs, abs=1e-6)
    assert 0.2 < np.nanmean(pq) < 0.95


def test_equal_to_brute_force_with_void_in_both():
    rng = np.random.default_rng(5)
    scenes = []
    for _ in range(20):
        truth = _random_scene(rng, 0.2)
        predicted = _disturbed(rng, *truth)
        predicted[0][rng.random((16, 16)) < 0.1] = 255
        scenes.append((predicted, truth))
    iou, tp, fp, fn = np.zeros(4), np.zeros(4, int), np.zeros(4, int), np.zeros(4, int)
    for predicted, truth in scenes:
        void = truth[0] == 255
        mine, theirs = _segments(*predicted), _segments(*truth)
        matched = set()
        for c, mask in mine:
            best = [(j, _iou(mask & ~void, other)) for j, (d, other) in enumerate(theirs) if d == c]
            best = [(j, value) for j, value in best if value > 0.5]
            assert len(best) <= 1
            for j, value in best:
                matched.add(j)
                iou[c], tp[c] = iou[c] + value, tp[c] + 1
            if not best and (mask & void).sum() <= 0.5 * mask.sum():
                fp[c] += 1
        for j, (c, _) in enumerate(theirs):
            fn[c] += j not in matched
    ours = _counts(scenes)
    assert ours.iou == pytest.approx(iou)
    assert (ours.tp.tolist(), ours.fp.tolist(), ours.fn.tolist()) == (tp.tolist(), fp.tolist(), fn.tolist())
    assert tp.sum() > 10
    assert fp.sum() > 10


def _segments(semantic, instance):
    found = []
    for c in range(CLASSES):
        numbers = np.unique(instance[semantic == c]) if c in THINGS else [None]
        for number in numbers:
            mask = (semantic == c) if number is None else (semantic == c) & (instance == number)
            if mask.any():
                found.append((c, mask))
    return found


def _iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_part_of_a_mask():
    """40 of 50 pixels: PQ = SQ = 0.8, RQ = 1."""
    truth, found = np.zeros(100, int), np.zeros(100, int)
    truth[:50], found[:40] = 1, 1
    counts = panoptic_counts(
        [((found.reshape(10, 10), np.array([-1, 2])), (truth.reshape(10, 10), np.array([-1, 2])))], 3
    )
    pq, sq, rq = counts.quality()
    assert (pq[2], sq[2], rq[2]) == pytest.approx((0.8, 0.8, 1.0))
    assert np.isnan(pq[:2]).all()


def test_void_is_no_area_of_a_false_positive():
    truth = np.ones((1, 10), int)
    truth[0, 5:] = 0  # void
    classes = np.array([-1, 0])
    inside = np.zeros((1, 10), int)
    inside[0, 4:] = 1  # one pixel on the object, five in void: neither match nor false positive
    counts = panoptic_counts([((inside, np.array([-1, 0])), (truth, classes))], 1)
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (0, 0, 1)
    whole = np.ones((1, 10), int)
    assert panoptic_counts([((whole, classes), (truth, classes))], 1).iou[0] == 1.0


def test_true_map_makes_one_segment_per_object_and_stuff_class():
    semantic = np.array([[0, 0, 2, 2, 2, 255, 3]])
    instance = np.array([[0, 0, 1, 2, 0, 0, 1]])
    ids, classes = true_map(semantic, instance, THINGS, CLASSES)
    assert classes[ids][0].tolist() == [0, 0, 2, 2, -1, -1, 3]  # the thing pixel without an object is void
    assert len(np.unique(ids[classes[ids] >= 0])) == 4


def test_predicted_map_merges_stuff_of_one_class_only():
    panoptic = np.array([[1, 2, 3, 4, 5, 0]])
    class_of = np.array([-1, 2, 2, 0, 0, -1])
    is_thing = np.array([False, True, True, False, False, False])
    ids, classes = predicted_map(panoptic, class_of, is_thing)
    assert classes[ids][0].tolist() == [2, 2, 0, 0, -1, -1]
    assert ids[0, 0] != ids[0, 1]
    assert ids[0, 2] == ids[0, 3] != 0
    assert ids[0, 4] == ids[0, 5] == 0
