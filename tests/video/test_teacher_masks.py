"""Seeds, colour model, soft masks, and their score."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from tasks.video.colour_model import (
    centre_prior,
    colour_codes,
    foreground_likelihood,
    motion_seeds,
    seeded_histograms,
)
from tasks.video.teacher_masks import best_frames, hysteresis, mean_nonzero, refined_likelihood, soft_masks


def test_score_is_the_mean_of_the_non_zero_pixels():
    mask = np.zeros((1, 4, 4))
    mask[0, :2, :2] = [[1, 0.5], [0.5, 1]]
    assert mask.mean() == 0.1875
    assert mean_nonzero(mask) == pytest.approx([0.75])
    assert mean_nonzero(np.zeros((2, 3, 3))).tolist() == [0, 0]


def test_colour_codes_by_hand():
    rng = np.random.default_rng(0)
    colours = rng.uniform(size=(40, 3))
    expected = []
    for r, g, b in colours:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        x, y = s * np.cos(2 * np.pi * h), s * np.sin(2 * np.pi * h)
        expected.append((round((x + 1) / 2 * 29) * 12 + round((y + 1) / 2 * 11)) * 6 + round(v * 5))
    assert colour_codes(colours, (30, 12, 6)).tolist() == expected
    assert max(expected) < 30 * 12 * 6


def test_hue_is_circular():
    almost_red = np.array([[1.0, 0.0, 0.004], [1.0, 0.004, 0.0]])  # hue 0.9993 and 0.0007
    first, second = colour_codes(almost_red, (30, 12, 6))
    # Neighbouring bins at most: the hues lie at both ends of 0..1.
    places = [np.array(np.unravel_index(code, (30, 12, 6))) for code in (first, second)]
    assert np.abs(places[0] - places[1]).max() <= 1


def test_grey_frames_are_refused():
    with pytest.raises(ValueError, match="three colour channels"):
        colour_codes(np.zeros((2, 4, 4)), (30, 12, 6))


def test_likelihood_by_hand():
    codes = np.array([[0, 0, 1], [1, 2, 2]])
    seeds = np.array([[True, False, True], [False, False, False]])
    inside, outside = seeded_histograms(codes, seeds, 4)
    assert inside.tolist() == [0.5, 0.5, 0, 0]
    assert outside.tolist() == [0.25, 0.25, 0.5, 0]
    likelihood = foreground_likelihood(np.arange(4), inside, outside)
    assert likelihood == pytest.approx([2 / 3, 2 / 3, 0, 0])  # a colour of neither: 0


def test_no_seed_gives_no_foreground():
    codes = np.zeros((3, 3), dtype=np.int64)
    assert foreground_likelihood(codes, *seeded_histograms(codes, np.zeros((3, 3), dtype=bool), 2)).max() == 0


def test_centre_prior():
    prior = centre_prior(9, 13, 1 / 3)
    assert prior[4, 6] == 1
    assert prior[4, 9] == pytest.approx(np.exp(-0.5))  # three pixels are one deviation of the shorter side's
    assert np.array_equal(prior, prior[::-1, ::-1])


def test_seeds_lie_on_the_brightest_part_of_the_residual():
    residual = np.zeros((2, 20, 20))
    residual[0, 8:12, 8:12], residual[1, 9, 9] = 1, 0.01
    seeds = motion_seeds(residual, 0.0, np.ones((20, 20)))
    assert np.array_equal(seeds, residual > 0)  # each frame for itself
    assert not motion_seeds(np.zeros((1, 5, 5)), 1.0, np.ones((5, 5))).any()


def flooded(u: np.ndarray, high: float, low: float) -> np.ndarray:
    """Hysteresis of one frame by flooding from every strong pixel to its eight neighbours."""
    kept, open_ = np.zeros(u.shape, dtype=bool), [tuple(p) for p in np.argwhere(u > high)]
    while open_:
        y, x = open_.pop()
        if 0 <= y < u.shape[0] and 0 <= x < u.shape[1] and u[y, x] > low and not kept[y, x]:
            kept[y, x] = True
            open_ += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return kept


def test_hysteresis_floods_from_strong_pixels():
    u = np.random.default_rng(0).uniform(size=(5, 20, 20))
    u = (u + np.roll(u, 1, 1) + np.roll(u, 1, 2)) / 3
    got = hysteresis(u, 0.75, 0.6)
    assert np.array_equal(got, [flooded(frame, 0.75, 0.6) for frame in u])
    assert 0 < got.sum() < (u > 0.6).sum()
    diagonal = np.array([[[0.9, 0.0], [0.0, 0.6]]])
    assert hysteresis(diagonal, 0.8, 0.5).sum() == 2  # 8-connected


def test_components_do_not_reach_across_frames():
    u = np.zeros((2, 3, 3))
    u[0, 1, 1], u[1, 1, 1] = 0.9, 0.6
    assert hysteresis(u, 0.8, 0.5)[:, 1, 1].tolist() == [True, False]


def test_soft_masks_follow_the_definition():
    rng = np.random.default_rng(1)
    likelihood, prior = rng.uniform(size=(3, 12, 12)), centre_prior(12, 12, 0.4)
    masks = soft_masks(likelihood, prior, blur=0.0, high=0.8, low=0.5)
    for frame, mask in zip(likelihood, masks, strict=True):
        u = frame * prior
        u = (u - u.min()) / (u.max() - u.min())
        kept = hysteresis(u[None], 0.8, 0.5)[0] * frame
        assert mask == pytest.approx(kept / kept.max(), abs=1e-6)
    assert soft_masks(np.zeros((1, 5, 5)), centre_prior(5, 5, 0.3), blur=1.0, high=0.8, low=0.5).max() == 0


def test_refinement_learns_the_colour_of_the_masks():
    codes = np.zeros((4, 8, 8), dtype=np.int64)
    codes[:, 2:6, 2:6] = 1
    masks = (codes == 1) * np.array([1.0, 0.9, 1.0, 0.8])[:, None, None]
    masks[:, 3, 3] = 0  # a hole that colour closes
    likelihood = refined_likelihood(masks, codes, 2)
    assert likelihood[codes == 1].min() > 0.9
    assert likelihood[codes == 0].max() < 0.1


def test_best_frames():
    score, group = np.array([0.5, 0.9, 0.0, 0.8, 0.7, 0.0]), np.array([0, 1, 1, 1, 2, 2])
    order = np.argsort(-score, kind="stable")
    assert np.flatnonzero(best_frames(score, group, 0.34, None, order)).tolist() == [1, 3]
    assert np.flatnonzero(best_frames(score, group, 0.34, 1, order)).tolist() == [1, 4]
    assert np.flatnonzero(best_frames(score, group, 0.01, None, order)).tolist() == [1]  # at least one
    # An empty mask is never selected, even if all are asked for.
    assert np.flatnonzero(best_frames(score, group, 1.0, None, order)).tolist() == [0, 1, 3, 4]
    assert best_frames(score, group, 1.0, None, np.arange(6)).sum() == 4
    with pytest.raises(ValueError, match="not one has a positive pixel"):
        best_frames(np.zeros(3), np.zeros(3), 0.5, None, np.arange(3))
