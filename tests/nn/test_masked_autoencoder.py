"""Masked autoencoder and its checkpoint."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Dataset
from tasks.checkpoint.masked_autoencoder import masked_autoencoder
from tasks.nn.masked_autoencoder import MaskedAutoencoder, hidden_patches, masked_loss, patches_of, positions
from tasks.nn.vit import image_batch, load_vit, preprocess, vit_features

SMALL = {"patch": 4, "hidden": 16, "layers": 1, "heads": 2, "decoder_hidden": 8, "batch_size": 4}


@pytest.fixture
def network() -> MaskedAutoencoder:
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return MaskedAutoencoder(ViTModel(config, add_pooling_layer=False), 4, 3, hidden=8, layers=1, heads=2).eval()


def images(n: int = 8, height: int = 12, width: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    colours = rng.uniform(40, 215, (n, 1, 1, 3))
    return (colours + rng.normal(0, 10, (n, height, width, 3))).clip(0, 255).astype(np.uint8)


def dataset(pictures: np.ndarray) -> Dataset:
    n = len(pictures)
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * (n - 1) + ["test"], dtype="str")})
    return Dataset({"samples": samples}, {"images": pictures})


def test_hidden_pixels_do_not_reach_the_encoder(network):
    pixels, hidden = torch.rand(2, 3, 16, 16), hidden_patches(2, 16, 0.6, np.random.default_rng(0))
    changed = pixels.clone()
    where = hidden.reshape(2, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(pixels)
    changed[where] = 7.0
    assert torch.equal(network(pixels, hidden), network(changed, hidden))
    assert not torch.equal(network(pixels, hidden), network(pixels + 0.1, hidden))


def test_with_nothing_hidden_but_one_patch_the_encoder_is_the_vit(network):
    pixels = torch.rand(1, 3, 16, 16)
    hidden = torch.zeros(1, 16, dtype=torch.bool)
    seen = []
    network.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(pixels, hidden)
    expected = network.vit(pixels).last_hidden_state
    assert seen[0].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_the_order_of_visible_patches_is_put_back(network):
    """The decoder sees each visible patch at its own place: with one patch changed, its own output changes most."""
    pixels, hidden = torch.rand(1, 3, 16, 16), torch.zeros(1, 16, dtype=torch.bool)
    hidden[0, [0, 3, 7]] = True
    other = pixels.clone()
    other[:, :, 8:12, 4:8] += 3.0  # patch 9
    change = (network(pixels, hidden) - network(other, hidden))[0].norm(dim=1)
    assert int(change.argmax()) == 9


def test_patches_and_loss():
    pixels = torch.arange(2 * 3 * 4 * 8, dtype=torch.float32).reshape(2, 3, 4, 8)
    parts = patches_of(pixels, 4)
    assert parts.shape == (2, 2, 48)
    assert torch.equal(parts[1, 1].reshape(3, 4, 4), pixels[1, :, :, 4:])
    hidden = torch.tensor([[True, False], [False, False]])
    assert masked_loss(parts + torch.tensor([[[2.0], [5.0]]]), parts, hidden) == 4


def test_hidden_patches():
    hidden = hidden_patches(50, 20, 0.6, np.random.default_rng(0))
    assert (hidden.sum(dim=1) == 12).all()
    assert (hidden.float().mean(dim=0) - 0.6).abs().max() < 0.25
    assert (hidden_patches(2, 4, 0.99, np.random.default_rng(0)).sum(dim=1) == 3).all()


def test_positions_differ_and_follow_the_definition():
    table = positions(3, 5, 8)
    assert table.shape == (15, 8)
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 0.01
    assert table[7].numpy() == pytest.approx(
        [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01), np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)], abs=1e-6
    )


def test_checkpoint_gives_dense_features_of_its_images():
    pictures = images()
    checkpoint = masked_autoencoder(dataset(pictures), **SMALL, epochs=20, lr=5e-3)
    checkpoint.check()
    vit = load_vit(checkpoint)
    features, _ = vit_features(vit, preprocess(image_batch(pictures, np.arange(2)), vit, checkpoint.meta), "last")
    assert features.shape == (2, 12, 16)
    curve = checkpoint.tables["curves"]
    assert curve["y"].iloc[-3:].mean() < 0.8 * curve["y"].iloc[0]
    train = pictures[:-1].reshape(-1, 3) / 255
    assert checkpoint.meta["image_mean"] == pytest.approx(train.mean(axis=0), abs=1e-3)
    assert checkpoint.meta["image_std"] == pytest.approx(train.std(axis=0), abs=1e-3)


def test_views_of_scenes_are_images():
    pictures = images(8)
    flat = masked_autoencoder(dataset(np.concatenate([pictures, pictures[:1]])), **SMALL, epochs=1)
    scenes = np.concatenate([pictures, pictures]).reshape(4, 4, 12, 16, 3)[:3]
    nested = masked_autoencoder(dataset(scenes), **SMALL, epochs=1)
    for name, value in flat.networks["vit"].state.items():
        assert np.array_equal(value, nested.networks["vit"].state[name])


def test_seeds():
    one, again, other = (masked_autoencoder(dataset(images()), **SMALL, epochs=1, seed=s) for s in (0, 0, 1))
    name = "embeddings.position_embeddings"
    states = [c.networks["vit"].state[name] for c in (one, again, other)]
    assert np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="do not divide into patches of 4"):
        masked_autoencoder(dataset(images(height=10)), **SMALL)
    with pytest.raises(ValueError, match="multiples of their heads"):
        masked_autoencoder(dataset(images()), **{**SMALL, "heads": 3})
    with pytest.raises(ValueError, match="needs the array 'images'"):
        masked_autoencoder(Dataset(dataset(images()).tables, {}), **SMALL)
