import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tasks.artifacts import network_of
from tasks.nn.encoder import Encoder, EncoderSettings, build_encoder, embed, encoder_from_config, image_tensor

VIT = EncoderSettings(architecture="vit", widths=[24], patch_size=4, layers=2, heads=3, projection=[10])
ALL = [
    EncoderSettings(architecture="mlp", widths=[12, 7], projection=[5, 3]),
    EncoderSettings(architecture="conv", widths=[4, 6]),
    EncoderSettings(architecture="resnet32"),
    VIT,
]


def images(n: int = 6, height: int = 16, width: int = 8, channels: int = 1) -> torch.Tensor:
    return torch.rand(n, height, width, channels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.architecture)
def test_shapes_seed_and_round_trip_through_json(settings):
    encoder = build_encoder(settings, (16, 8, 1), seed=3).eval()
    x = images()
    feature = embed(encoder.backbone, x, batch_size=4)
    assert feature.shape == (6, encoder.dim)
    assert embed(encoder, x).shape == (6, settings.projection[-1] if settings.projection else encoder.dim)

    again, other = (build_encoder(settings, (16, 8, 1), seed=s).eval() for s in (3, 4))
    assert torch.equal(embed(again.backbone, x, batch_size=4), feature)
    assert not torch.allclose(embed(other.backbone, x, batch_size=4), feature)

    stored = network_of(encoder, json.loads(json.dumps(encoder.config())))
    assert torch.equal(embed(encoder_from_config(stored.config, stored.state).backbone, x, batch_size=4), feature)


def test_building_leaves_the_global_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_encoder(VIT, (16, 8, 1), seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_vit_sees_the_order_of_patches_and_mlp_vit_and_conv_train():
    vit = build_encoder(VIT, (16, 8, 1), seed=0).eval()
    x = images()
    # Unlike a bag of patches, positions matter: swapping the upper and the lower half changes the feature.
    assert not torch.allclose(vit(x), vit(torch.cat([x[:, 8:], x[:, :8]], dim=1)), atol=1e-4)
    vit(x).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in vit.parameters())


def test_vit_base_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = Encoder(EncoderSettings(architecture="vit", widths=[768], patch_size=32), (224, 224, 3))
    # ViT-B/32 without a classification head (Dosovitskiy et al. 2021, table 1: 88 M with the head).
    blocks = 12 * (4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768)
    embeddings = 3 * 32 * 32 * 768 + 768 + 768 + 50 * 768
    assert sum(p.numel() for p in model.parameters()) == blocks + embeddings + 2 * 768


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"encoder.patch_size: 5 does not divide images of 16 x 8 pixels"):
        build_encoder(VIT.model_copy(update={"patch_size": 5}), (16, 8, 1), seed=0)
    with pytest.raises(ValueError, match=r"encoder.heads: 5 does not divide the width 24"):
        build_encoder(VIT.model_copy(update={"heads": 5}), (16, 8, 1), seed=0)
    with pytest.raises(ValidationError, match="widths"):
        EncoderSettings(widths=[])
    with pytest.raises(ValueError, match=r"images must be \[n, H, W, C\]"):
        image_tensor(np.zeros(3))


def test_image_tensor_scales_bytes_only():
    bytes_ = np.array([[[0, 51], [255, 102]]], dtype=np.uint8)
    assert torch.allclose(image_tensor(bytes_)[0, :, :, 0], torch.tensor([[0, 0.2], [1, 0.4]]))
    floats = np.array([[[[2.0]]]], dtype=np.float32)
    assert image_tensor(floats).item() == 2.0
