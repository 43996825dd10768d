"""Features of a frozen ViT, read layer by layer."""

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from tasks.artifacts import Checkpoint, network_of
from tasks.nn.vit import image_batch, load_vit, preprocess, vit_features


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=24
    )
    vit = ViTModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    meta = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
    return Checkpoint(networks={"vit": network_of(vit, config.to_dict())}, meta=meta)


def _by_hand(vit, pixels):
    """Key vectors of the last block from its input, computed with plain matrix products."""
    hidden = vit(pixels, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states[-2]
    block = vit.layers[-1]
    normed = block.layernorm_before(hidden)
    return (normed @ block.attention.k_proj.weight.T + block.attention.k_proj.bias)[:, 1:]


def test_keys_are_those_of_the_last_block_without_cls(checkpoint):
    vit, pixels = load_vit(checkpoint), torch.randn(2, 3, 16, 16)
    keys, cls = vit_features(vit, pixels, "key")
    assert keys.shape == (2, 16, 12)
    assert torch.allclose(keys, _by_hand(vit, pixels), atol=1e-5)
    assert torch.allclose(cls, vit(pixels).last_hidden_state[:, 0])
    assert not vit.layers[-1].attention.k_proj._forward_hooks


def test_last_and_patch_tokens(checkpoint):
    vit, pixels = load_vit(checkpoint), torch.randn(2, 3, 16, 16)
    assert torch.equal(vit_features(vit, pixels, "last")[0], vit(pixels).last_hidden_state[:, 1:])
    tokens, _ = vit_features(vit, pixels, "patch_tokens")
    kernel = vit.embeddings.patch_embeddings.projection
    patch = pixels[1, :, 4:8, 8:12]
    expected = (kernel.weight * patch).sum(dim=(1, 2, 3)) + kernel.bias
    assert torch.allclose(tokens[1, 1 * 4 + 2], expected, atol=1e-5)


def test_positions_are_interpolated_to_other_shapes(checkpoint):
    vit = load_vit(checkpoint)
    for height, width in ((8, 24), (24, 8), (32, 32)):
        for layer in ("key", "last", "patch_tokens"):
            features, cls = vit_features(vit, torch.randn(1, 3, height, width), layer)
            assert features.shape == (1, height * width // 16, 12)
            assert cls.shape == (1, 12)


def test_non_square_grid_is_read_row_by_row(checkpoint):
    vit = load_vit(checkpoint)
    pixels = torch.zeros(1, 3, 8, 16)
    pixels[:, :, 4:, 8:12] = 1
    tokens, _ = vit_features(vit, pixels, "patch_tokens")
    odd = (tokens[0] - tokens[0, 0]).abs().sum(dim=1) > 1e-6
    assert odd.nonzero().ravel().tolist() == [1 * 4 + 2]


def test_preprocessing_is_the_checkpoints(checkpoint):
    vit = load_vit(checkpoint)
    pixels = preprocess(torch.full((1, 3, 4, 4), 0.5), vit, checkpoint.meta)
    assert torch.allclose(pixels[0, :, 0, 0], torch.tensor([0.0, 0.4, 0.4]))
    grey = preprocess(torch.full((1, 1, 4, 4), 0.5), vit, checkpoint.meta)
    assert torch.equal(grey, pixels)
    with pytest.raises(ValueError, match="3 channels, the dataset's have 4"):
        preprocess(torch.zeros(1, 4, 4, 4), vit, checkpoint.meta)


def test_image_batch_scales_bytes_only_and_reads_grey():
    images = np.full((3, 2, 5, 3), 255, dtype=np.uint8)
    assert image_batch(images, np.array([1])).shape == (1, 3, 2, 5)
    assert image_batch(images, np.array([1])).max() == 1
    assert image_batch(images[..., 0], np.array([0, 2])).shape == (2, 1, 2, 5)
    assert image_batch(np.full((1, 2, 2, 1), 0.25, dtype=np.float32), np.array([0])).max() == 0.25


def test_checkpoint_without_vit_is_refused():
    with pytest.raises(ValueError, match="needs a network 'vit', has none"):
        load_vit(Checkpoint())


def test_public_dino_layout_loads(tmp_path):
    """The parameter names of facebook/dino-vitb8, which transformers renames on reading."""
    from tasks.checkpoint.public import public

    config = ViTConfig(
        image_size=16, patch_size=8, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=24
    )
    vit = ViTModel(config, add_pooling_layer=False)
    vit.save_pretrained(tmp_path)
    checkpoint = public(
        name=str(tmp_path), kind="vit", image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    pixels = torch.randn(1, 3, 16, 24)
    keys, _ = vit_features(load_vit(checkpoint), pixels, "key")
    assert keys.shape == (1, 6, 12)
    assert torch.equal(keys, vit_features(vit.eval(), pixels, "key")[0])
