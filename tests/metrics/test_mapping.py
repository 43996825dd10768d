"""Votes of clusters for classes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from tasks.metrics.mapping import agreement, confusion, detection_votes, map_clusters, region_votes

VOTES = np.array([[50, 0, 0], [40, 10, 0], [0, 30, 0], [5, 0, 20], [0, 0, 25]])


def test_majority_lets_many_clusters_share_a_class():
    classes = map_clusters(VOTES, "majority")
    assert classes.tolist() == [0, 0, 1, 2, 2]
    assert agreement(VOTES, classes) == pytest.approx(165 / 180)


def test_hungarian_uses_one_cluster_per_class():
    classes = map_clusters(VOTES, "hungarian")
    assert sorted(classes.tolist()) == [-1, -1, 0, 1, 2]
    assert agreement(VOTES, classes) == pytest.approx(105 / 180)


def test_cluster_without_votes_is_unmapped():
    votes = np.array([[0, 0], [3, 1]])
    assert map_clusters(votes, "majority").tolist() == [-1, 0]
    assert map_clusters(votes, "hungarian").tolist() == [-1, 0]


@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.integers(0, 9)))
@settings(max_examples=60, deadline=None)
def test_hungarian_is_the_best_one_to_one_mapping(votes):
    clusters, classes = votes.shape
    size = max(clusters, classes)
    square = np.zeros((size, size), dtype=int)
    square[:clusters, :classes] = votes
    best = max(square[np.arange(size), list(order)].sum() for order in itertools.permutations(range(size)))
    mapping = map_clusters(votes, "hungarian")
    mapped = mapping >= 0
    assert votes[mapped, mapping[mapped]].sum() == best == votes[linear_sum_assignment(-votes)].sum()
    assert len(set(mapping[mapped])) == mapped.sum()


def _two_boxes():
    """One 10x10 object of class 1 and one 10x10 object of class 2."""
    semantic, instance = np.zeros((1, 40, 40), dtype=np.int16), np.zeros((1, 40, 40), dtype=np.int16)
    semantic[0, :10, :10], instance[0, :10, :10] = 1, 1
    semantic[0, 20:30, 20:30], instance[0, 20:30, 20:30] = 2, 2
    return semantic, instance


def test_detections_vote_by_box_and_score():
    semantic, instance = _two_boxes()
    masks = np.zeros((4, 40, 40), dtype=bool)
    masks[0, :10, :10] = True
    # The same box, but a quarter of its pixels: boxes decide, not masks.
    masks[1, 20:30, 20:22] = masks[1, 20:22, 20:30] = True
    masks[1, 29, 29] = True
    masks[2, :10, :7] = True  # IoU of the boxes is exactly 0.7, which is not above it
    masks[3, :10, :10] = True  # too unsure
    votes = detection_votes(
        masks, np.zeros(4, int), np.array([0, 1, 2, 2]), np.array([1.0, 0.6, 1.0, 0.59]), semantic, instance,
        clusters=3, classes=3, score_min=0.6, iou_min=0.7,
    )  # fmt: skip
    assert votes.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_detection_votes_stay_within_the_image():
    semantic, instance = (np.repeat(a, 2, axis=0) for a in _two_boxes())
    instance[1] = 0
    masks = instance[:1] == 1
    arguments = {"clusters": 1, "classes": 3, "score_min": 0.0, "iou_min": 0.7}
    for owner, expected in ((0, 1), (1, 0), (-1, 0)):
        votes = detection_votes(masks, np.array([owner]), np.array([0]), np.ones(1), semantic, instance, **arguments)
        assert votes.sum() == expected


def test_region_votes_against_brute_force():
    rng = np.random.default_rng(0)
    clusters = rng.integers(-1, 4, (6, 5, 5))
    semantic = rng.choice([0, 1, 2, 255], (6, 5, 5))
    expected = np.zeros((4, 3), dtype=int)
    for image in range(6):
        labelled = semantic[image] != 255
        for k, c in itertools.product(range(4), range(3)):
            a, b = (clusters[image] == k) & labelled, (semantic[image] == c) & labelled
            if (a & b).any() and (a & b).sum() / (a | b).sum() > 0.15:
                expected[k, c] += 1
    assert expected.sum() > 5
    assert (region_votes(clusters, semantic, clusters=4, classes=3, iou_min=0.15) == expected).all()
    pixels = [[((clusters == k) & (semantic == c)).sum() for c in range(3)] for k in range(4)]
    assert region_votes(clusters, semantic, clusters=4, classes=3, iou_min=None).tolist() == pixels


def test_confusion_leaves_void_out_and_counts_missing_predictions():
    counts = confusion(np.array([0, 1, -1, 1]), np.array([1, 1, 0, 255]), 2, 2)
    assert counts.tolist() == [[0, 1], [0, 1], [1, 0]]
