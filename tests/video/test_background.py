"""VideoPCA's background model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tasks.video.background import normalise, pca_residual, per_frame, project


def clip(rng: np.random.Generator, frames: int = 8) -> np.ndarray:
    """A textured background with a bright square that moves 3 pixels to the right per frame."""
    images = np.repeat(rng.uniform(0.2, 0.6, (1, 24, 32, 3)), frames, axis=0)
    for t in range(frames):
        images[t, 8:14, 1 + 3 * t : 7 + 3 * t] = (0.9, 0.1, 0.1)
    return images


def test_normalise_of_a_constant_map_is_zero_and_not_nan():
    assert np.array_equal(normalise(np.full((4, 5), 3.0)), np.zeros((4, 5)))
    assert np.array_equal(per_frame(np.zeros((2, 3, 3))), np.zeros((2, 3, 3)))
    assert normalise(np.array([2.0, 3.0, 6.0])) == pytest.approx([0, 0.25, 1])


def test_the_projection_is_that_of_scikit_learn():
    x = np.random.default_rng(0).normal(size=(9, 50))
    coefficients, reconstruction = project(x, 3)
    pca = PCA(3, svd_solver="full").fit(x)
    assert reconstruction == pytest.approx(pca.inverse_transform(pca.transform(x)), abs=1e-10)
    assert np.abs(coefficients) == pytest.approx(np.abs(pca.transform(x)), abs=1e-10)


def test_frame_scalar_subtracts_each_frames_own_mean_value():
    x = np.random.default_rng(1).normal(size=(6, 40)) + 5
    _, reconstruction = project(x, 2, "frame_scalar")
    own = x.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(x - own, full_matrices=False)
    assert reconstruction == pytest.approx(u[:, :2] * s[:2] @ vt[:2] + own, abs=1e-10)


def test_the_sign_of_components_is_fixed():
    coefficients, _ = project(np.random.default_rng(2).normal(size=(6, 40)), 3)
    assert (coefficients[np.abs(coefficients).argmax(axis=0), np.arange(3)] > 0).all()


def test_a_background_under_a_gain_has_no_residual():
    frame = np.random.default_rng(3).uniform(0, 0.7, (16, 16, 3))
    images = frame[None] * np.linspace(0.8, 1.2, 7)[:, None, None, None]
    # Before frames are stretched, gains leave one component beside the mean frame; afterwards none.
    x = images.reshape(7, -1)
    assert np.abs(x - project(x, 1)[1]).max() < 1e-12
    _, residual = pca_residual(images, 3)
    assert residual.max() < 1e-12
    assert normalise(residual).max() < 1e-3


def test_a_moving_square_stands_out_on_its_path():
    _, residual = pca_residual(clip(np.random.default_rng(4)), 3)
    path = np.zeros((24, 32), dtype=bool)
    path[8:14, 1:28] = True
    assert residual[:, path].mean() > 10 * residual[:, ~path].mean()


def test_a_gain_of_all_frames_leaves_the_residual_as_it_is():
    images = clip(np.random.default_rng(5))
    assert pca_residual(images * 1.1, 3)[1] == pytest.approx(pca_residual(images, 3)[1], abs=1e-6)


def test_permuted_frames_permute_the_residual():
    images, order = clip(np.random.default_rng(6)), np.random.default_rng(0).permutation(8)
    assert pca_residual(images[order], 3)[1] == pytest.approx(pca_residual(images, 3)[1][order], abs=1e-10)


@pytest.mark.parametrize("frames", [3, 4])
def test_a_clip_that_the_components_explain_in_full_is_refused(frames: int):
    with pytest.raises(ValueError, match=rf"components: 3 explain a clip of {frames} frames in full"):
        pca_residual(clip(np.random.default_rng(7), frames), 3)
    assert pca_residual(clip(np.random.default_rng(7), 5), 3)[1].max() > 0
