"""The adversarial baseline: its losses, its features, its randomness."""

import math

import numpy as np
import pytest
import torch

from tasks.artifacts import Dataset
from tasks.nn.bigan import Discriminator, Encoder, Generator, discriminator_loss, encoder_generator_loss
from tasks.prepare.captioned_scenes import captioned_scenes
from tasks.pretrain.bigan import bigan
from tasks.pretrain.pixels import pixels

SMALL = {"latent": 8, "width": 4, "batch_size": 8}


@pytest.fixture(scope="module")
def dataset():
    return captioned_scenes(n_train=24, n_test=6, image_size=16, mode="single").without_truth()


def test_losses_beside_their_definition():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    expected = -(d_real.log().mean() + (1 - d_fake).log().mean())
    assert discriminator_loss(real, fake) == pytest.approx(expected.item(), rel=1e-5)
    swapped = -((1 - d_real).log().mean() + d_fake.log().mean())
    assert encoder_generator_loss(real, fake) == pytest.approx(swapped.item(), rel=1e-5)
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)) == pytest.approx(2 * math.log(2))
    assert discriminator_loss(torch.full((3,), 50.0), torch.full((3,), -50.0)) == pytest.approx(0)


def test_shapes_of_the_three_networks():
    x, z = torch.randn(3, 3, 16, 16), torch.randn(3, 8)
    encoder, generator, judge = (kind(3, 16, 4, 8) for kind in (Encoder, Generator, Discriminator))
    assert encoder.features(x).shape == (3, 16, 2, 2)
    assert encoder(x).shape == (3, 8)
    assert generator(z).shape == x.shape
    assert generator(z).abs().max() <= 1
    assert judge(x, z).shape == (3,)


def test_training_changes_features_and_reports_both_losses(dataset):
    start, trained, again = (bigan(dataset, **SMALL, steps=s, seed=0) for s in (0, 30, 30))
    trained.check()
    assert trained.arrays["embedding"].shape == (30, 16 * 4)
    assert np.array_equal(trained.arrays["embedding"], again.arrays["embedding"])
    assert not np.allclose(trained.arrays["embedding"], start.arrays["embedding"])
    curves = trained.tables["curves"]
    assert curves["x"][curves["curve"] == "discriminator_loss"].tolist() == [20, 30]
    assert (curves["y"] > 0).all()
    assert len(start.tables["curves"]) == 0


def test_learns_from_train_alone_and_leaves_the_global_state(dataset):
    images = np.array(dataset.arrays["images"])
    images[dataset.rows("test")] = 0
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = bigan(Dataset(dataset.tables, {"images": images}), **SMALL, steps=5, seed=1)
    assert torch.equal(torch.rand(1), expected)
    other = bigan(dataset, **SMALL, steps=5, seed=1)
    train = dataset.rows("train")
    assert np.array_equal(found.arrays["embedding"][train], other.arrays["embedding"][train])


def test_pixels_and_bigan_share_the_images_of_a_seed(dataset):
    one = bigan(dataset, **SMALL, steps=0, train_images=10, seed=4).tables["units"]
    two = pixels(dataset, train_images=10, seed=4)
    two.check()
    assert one.equals(two.tables["units"])
    first = two.tables["units"]["sample"][0]
    assert np.allclose(two.arrays["embedding"][0], dataset.arrays["images"][first].ravel() / 255)


def test_bad_images_are_named(dataset):
    cut = Dataset(dataset.tables, {"images": np.array(dataset.arrays["images"])[:, :12, :12]})
    with pytest.raises(ValueError, match="multiple of 8"):
        bigan(cut, **SMALL, steps=1, seed=0)
    with pytest.raises(ValueError, match="images"):
        pixels(Dataset(dataset.tables), seed=0)
