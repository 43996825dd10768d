"""The dense CRF against mean field with explicit kernel matrices."""

import numpy as np
import pytest
from scipy.special import expit

from tasks.segmentation.bilateral_grid import SparseGaussianFilter
from tasks.segmentation.dense_crf import (
    BILATERAL_COLOUR_STD,
    BILATERAL_POSITION_STD,
    BILATERAL_WEIGHT,
    POSITION_STD,
    POSITION_WEIGHT,
    DenseCRF,
    mean_field,
)


def _scene(seed=0, size=(20, 24)):
    """A bright square on a dark ground with some noise, and the square's mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, dtype=bool)
    mask[5:13, 6:16] = True
    image = np.where(mask[..., None], [180, 60, 60], [60, 120, 70]) + rng.normal(0, 4, (*size, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _kernel(points):
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2) / 2)


def _brute_force(image, mask, iterations=10):
    """Algorithm 1 of Krähenbühl & Koltun with both labels and full matrices."""
    height, width = mask.shape
    y, x = np.indices((height, width)).reshape(2, -1)
    position = np.column_stack([y, x])
    colour = image.reshape(height * width, 3).astype(float)
    kernels = [
        (POSITION_WEIGHT, _kernel(position / POSITION_STD)),
        (
            BILATERAL_WEIGHT,
            _kernel(np.column_stack([position / BILATERAL_POSITION_STD, colour / BILATERAL_COLOUR_STD])),
        ),
    ]
    scaled = []
    for weight, kernel in kernels:
        norm = 1 / np.sqrt(kernel.sum(axis=1))
        scaled.append(weight * norm[:, None] * kernel * norm)
    probability = np.stack([~mask.ravel(), mask.ravel()], axis=1).astype(float)
    unary = -np.log(np.exp(probability) / np.exp(probability).sum(axis=1, keepdims=True))
    q = np.exp(-unary)
    q /= q.sum(axis=1, keepdims=True)
    for _ in range(iterations):
        message = sum(kernel @ q for kernel in scaled)
        # Potts: a label pays for what the other label sends.
        energy = unary + message[:, ::-1]
        q = np.exp(-(energy - energy.min(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
    return q[:, 1].reshape(height, width)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_sparse_filter_is_close_to_the_gaussian(dimensions):
    rng = np.random.default_rng(dimensions)
    points = rng.uniform(0, 2.5, (400, dimensions))
    x = rng.random(400)
    kernel = _kernel(points)
    fast = SparseGaussianFilter(points)
    # What enters the CRF is the filter divided by its own response to ones.
    exact, approximate = kernel @ x / kernel.sum(axis=1), fast(x) / fast(np.ones(400))
    assert np.abs(exact - approximate).max() < 0.06
    assert np.corrcoef(exact, approximate)[0, 1] > 0.95
    ratio = fast(np.ones(400)) / kernel.sum(axis=1)
    assert ratio.std() / ratio.mean() < 0.25


def test_sparse_filter_is_linear_and_symmetric():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 6, (60, 3))
    fast = SparseGaussianFilter(points)
    matrix = np.stack([fast(row) for row in np.eye(60)])
    assert np.allclose(matrix, matrix.T)
    x = rng.random(60)
    assert np.allclose(fast(2 * x), 2 * matrix @ x)
    assert (matrix >= 0).all()


def test_sparse_filter_does_not_reach_far_points():
    points = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0], [0.3, 0.0]])
    response = SparseGaussianFilter(points)(np.array([1.0, 0.0, 0.0, 0.0]))
    assert response[1] == response[2] == 0
    assert response[0] > response[3] > 0.5 * response[0]


def test_mean_field_agrees_with_two_label_brute_force():
    image, mask = _scene()
    y, x = np.indices(mask.shape).reshape(2, -1)
    points = np.column_stack([y, x]) / BILATERAL_POSITION_STD
    bilateral = _kernel(np.column_stack([points, image.reshape(-1, 3) / BILATERAL_COLOUR_STD]))
    position = _kernel(np.column_stack([y, x]) / POSITION_STD)
    kernels = []
    for weight, kernel in ((POSITION_WEIGHT, position), (BILATERAL_WEIGHT, bilateral)):
        norm = 1 / np.sqrt(kernel.sum(axis=1))
        kernels.append((weight, (norm[:, None] * kernel * norm).__matmul__))
    noisy = mask ^ (np.random.default_rng(1).random(mask.shape) < 0.1)
    for iterations in (0, 1, 3):
        q = mean_field(np.where(noisy.ravel(), 1.0, -1.0), kernels, iterations)
        assert np.allclose(q.reshape(mask.shape), _brute_force(image, noisy, iterations), atol=1e-9)
    assert np.allclose(mean_field(np.array([1.0, -1.0]), [], 3), expit([1, -1]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_agree_with_brute_force(seed):
    image, mask = _scene(seed)
    rng = np.random.default_rng(seed)
    noisy = mask ^ (rng.random(mask.shape) < 0.15)
    noisy[4:9, 2:6] = True
    exact = _brute_force(image, noisy) > 0.5
    assert (DenseCRF(image).foreground(noisy) == exact).mean() > 0.99
    assert (exact != noisy).mean() > 0.03


def test_coarse_mask_snaps_to_the_edge_of_the_object():
    image, mask = _scene()
    coarse = np.zeros_like(mask)
    coarse[4:12, 4:16] = True
    refined = DenseCRF(image).refine(coarse)
    assert refined is not None

    def iou(a, b):
        return (a & b).sum() / (a | b).sum()

    assert iou(refined, mask) > 0.97 > iou(coarse, mask)


def test_holes_are_filled():
    image, mask = _scene()
    image = image.copy()
    image[8:10, 10:12] = [60, 120, 70]
    refined = DenseCRF(image).refine(mask)
    assert refined is not None
    assert refined[8:10, 10:12].all()


def test_mask_that_the_image_does_not_support_is_dropped():
    image, mask = _scene()
    stripe = np.zeros_like(mask)
    stripe[:, 0] = True
    assert DenseCRF(image).refine(stripe) is None


def test_needs_bytes():
    with pytest.raises(ValueError, match="uint8, got float32"):
        DenseCRF(np.zeros((4, 4, 3), dtype=np.float32))
