"""STEGO: correspondences, pairs, and a case it must solve."""

import numpy as np
import pytest
import torch

from tasks.segmentation.stego import (
    PairLoss,
    Stego,
    StegoHead,
    _derangement,
    correspondence,
    correspondence_loss,
    fit_stego,
    nearest_images,
    sample_points,
    stego_clusters,
)

FAST = Stego(code=8, points=6, neighbours=2, negatives=2, steps=150, batch_size=8, lr=3e-3, probe_lr=3e-2)


def _quadrants(n=12, seed=0):
    """Images [n, 8, 8, 6] of two of three textures, left and right, with noise; and the texture of each patch."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(3, 6)
    labels = np.empty((n, 8, 8), dtype=int)
    for image in range(n):
        left, right = rng.choice(3, 2, replace=False)
        labels[image, :, :4], labels[image, :, 4:] = left, right
    return (centres[labels] + rng.normal(0, 0.4, (n, 8, 8, 6))).astype(np.float32), labels


def test_correspondence_is_the_cosine_of_all_pairs():
    a, b = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    expected = torch.nn.functional.cosine_similarity(a[:, :, :, None], b[:, :, None, :], dim=1)
    assert torch.allclose(correspondence(a, b), expected, atol=1e-6)


def test_loss_by_hand():
    f = torch.tensor([[[0.9, 0.1], [0.5, 0.3]]])
    s = torch.tensor([[[0.5, -0.4], [0.2, 0.1]]])
    # Rows centred: [.4, -.4], [.1, -.1]; plus the total mean .45.
    expected = -(0.5 * (0.85 - 0.2) + 0 + 0.2 * (0.55 - 0.2) + 0.1 * (0.35 - 0.2)) / 4
    assert correspondence_loss(f, s, 0.2).item() == pytest.approx(expected, abs=1e-6)


def test_loss_pulls_similar_codes_together_and_pushes_others_apart():
    f = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])
    s = torch.full((1, 2, 2), 0.5, requires_grad=True)
    correspondence_loss(f, s, 0.3).backward()
    assert s.grad is not None
    assert (torch.sign(s.grad[0]) == torch.tensor([[-1.0, 1.0], [1.0, -1.0]])).all()
    negative = torch.full((1, 2, 2), -0.5, requires_grad=True)
    correspondence_loss(f, negative, 0.3).backward()
    assert negative.grad is not None
    assert (negative.grad == 0).all()


def test_points_are_sampled_in_x_y_order():
    maps = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[[-1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [1.0, 1.0]]]])
    assert sample_points(maps, points).ravel().tolist() == [0, 3, 8, 11]


def test_nearest_images_by_mean_feature_without_itself():
    features = np.zeros((4, 2, 2, 2), dtype=np.float32)
    features[[0, 2], ..., 0] = 1
    features[[1, 3], ..., 1] = 1
    features[2, ..., 1] = 0.1
    near = nearest_images(features, np.arange(4), 1)
    assert near.ravel().tolist() == [2, 3, 0, 1]
    assert nearest_images(features, np.array([0, 1, 3]), 7).shape == (3, 2)


def test_no_image_is_its_own_negative():
    rng = np.random.default_rng(0)
    for count in (2, 3, 16):
        order = _derangement(count, rng)
        assert sorted(order) == list(range(count))
        assert (order != np.arange(count)).all()


def test_head_is_linear_plus_mlp_without_dropout_in_evaluation():
    head = StegoHead(6, 4, 0.5).eval()
    x = torch.randn(1, 6, 3, 3)
    assert torch.allclose(head(x), head.linear(x) + head.mlp(x))


def test_solves_three_textures_and_labels_every_pixel():
    features, labels = _quadrants()
    settings = FAST.model_copy(update={"random": PairLoss(weight=0.63, bias=0.3)})
    head, centroids, losses = fit_stego(features, np.arange(10), 3, settings, seed=0)
    assert losses[-1] < losses[0]
    assert torch.allclose(centroids.norm(dim=1), torch.ones(3))
    clusters = stego_clusters(head, centroids, features, 16, 16)
    assert clusters.shape == (12, 16, 16)
    assert clusters.dtype == np.int16
    votes = np.zeros((3, 3))
    np.add.at(votes, (clusters[:, ::2, ::2].ravel(), labels.ravel()), 1)
    assert votes.max(axis=1).sum() / votes.sum() > 0.95


def test_equal_seeds_give_equal_bits_and_global_state_is_left_alone():
    features, _ = _quadrants()
    short = FAST.model_copy(update={"steps": 5})
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = fit_stego(features, np.arange(10), 3, short, seed=4)
    assert torch.equal(torch.rand(1), expected)
    again, other = (fit_stego(features, np.arange(10), 3, short, seed=s) for s in (4, 5))
    assert torch.equal(first[1], again[1])
    assert torch.equal(first[0].linear.weight, again[0].linear.weight)
    assert first[2] == again[2]
    assert not torch.equal(first[1], other[1])


def test_needs_two_images():
    with pytest.raises(ValueError, match="stego needs pairs of images, got 1"):
        fit_stego(_quadrants()[0], np.array([0]), 3, FAST, seed=0)
