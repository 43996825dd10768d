"""The U-Net: its blocks, its size, and the names that public files use."""

import math

import pytest
import torch

from tasks.diffusion.unet import UNet

TINY = {
    "in_channels": 12,
    "out_channels": 12,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}


def build(config, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(config).eval()


def test_the_nine_blocks_of_the_small_network():
    outputs = build(TINY).block_outputs(torch.randn(2, 12, 16, 16), torch.tensor([3, 900]))
    sizes = [(o.shape[1], o.shape[2]) for o in outputs]
    assert sizes == [(32, 16), (32, 16), (32, 8), (64, 8), (64, 8), (64, 8), (64, 16), (32, 16), (32, 16)]


def test_numbering_of_the_large_network():
    """37 blocks with the channels and sizes of ADM at 256 pixels, here an eighth as large and with narrow layers."""
    widths = [8, 8, 16, 16, 32, 32]
    config = {
        **TINY,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": widths,
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D"] * 3 + ["AttnDownBlock2D"] * 3,
        "up_block_types": ["AttnUpBlock2D"] * 3 + ["UpBlock2D"] * 3,
        "attention_head_dim": 8,
        "norm_num_groups": 4,
    }
    outputs = build(config).block_outputs(torch.randn(1, 3, 32, 32), torch.tensor([90]))
    assert len(outputs) == 37
    channels = [o.shape[1] * 32 for o in outputs]
    assert channels == [256] * 7 + [512] * 6 + [1024] * 12 + [512] * 6 + [256] * 6
    sizes = [o.shape[2] * 8 for o in outputs]
    down = [256] * 3 + [128] * 3 + [64] * 3 + [32] * 3 + [16] * 3
    assert sizes == [*down, *[8] * 6, *[16] * 3, *[32] * 3, *[64] * 3, *[128] * 3, *[256] * 4]
    assert outputs[23].shape == (1, 32, 2, 2)  # block 24: 1024 x 16 x 16


def test_parameters_of_the_public_cifar_network():
    """google/ddpm-cifar10-32 has 35.7 million."""
    config = {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [128, 256, 256, 256],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    }
    with torch.device("meta"):
        network = UNet(config)
    assert sum(p.numel() for p in network.parameters()) == 35_746_307
    names = set(network.state_dict())
    for name in (
        "time_embedding.linear_1.weight",
        "down_blocks.0.resnets.1.time_emb_proj.bias",
        "down_blocks.1.resnets.0.conv_shortcut.weight",
        "down_blocks.1.attentions.1.to_out.0.weight",
        "down_blocks.2.downsamplers.0.conv.weight",
        "mid_block.attentions.0.group_norm.bias",
        "up_blocks.2.attentions.2.to_q.weight",
        "up_blocks.0.upsamplers.0.conv.bias",
        "conv_norm_out.weight",
    ):
        assert name in names


def test_a_map_whose_first_downsampling_pads_below_and_right():
    outputs = [
        build({**TINY, "downsample_padding": p}).block_outputs(torch.ones(1, 12, 16, 16), torch.tensor([0]))
        for p in (0, 1)
    ]
    assert outputs[0][2].shape == outputs[1][2].shape == (1, 32, 8, 8)
    assert not torch.allclose(outputs[0][2], outputs[1][2])


def test_time_steps_are_seen_as_sines_and_cosines():
    network = build({**TINY, "freq_shift": 1})
    found = network._frequencies(torch.tensor([0, 7]))
    expected = [math.cos(7 * 10000 ** (-i / 15)) for i in range(16)]
    assert found.shape == (2, 32)
    assert found[1, :16].tolist() == pytest.approx(expected, abs=1e-5)
    assert found[0].tolist() == [1.0] * 16 + [0.0] * 16
    flipped = build({**TINY, "freq_shift": 1, "flip_sin_to_cos": False})._frequencies(torch.tensor([7]))
    assert torch.equal(flipped[0, 16:], found[1, :16])
    x = torch.randn(1, 12, 16, 16)
    assert not torch.allclose(network(x, torch.tensor([1])), network(x, torch.tensor([500])))


def test_attention_is_that_of_the_definition():
    layer = build(TINY).mid_block.attentions[0]
    x = torch.randn(2, 64, 3, 3)
    tokens = layer.group_norm(x).flatten(2).transpose(1, 2)
    q, k, v = (f(tokens).reshape(2, 9, 4, 16).permute(0, 2, 1, 3) for f in (layer.to_q, layer.to_k, layer.to_v))
    weights = (q @ k.transpose(2, 3) / 4).softmax(dim=3)
    mixed = (weights @ v).permute(0, 2, 1, 3).reshape(2, 9, 64)
    expected = x + layer.to_out[0](mixed).transpose(1, 2).reshape(x.shape)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_every_weight_gets_gradient_and_samples_do_not_mix():
    network = build(TINY)
    x, t = torch.randn(3, 12, 16, 16), torch.tensor([0, 10, 999])
    network(x, t).square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in network.named_parameters() if "to_k.bias" not in n
    )
    with torch.no_grad():
        assert torch.allclose(network(x, t)[1:2], network(x[1:2], t[1:2]), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "CrossAttnDownBlock2D"),
        ({"up_block_types": ["UpBlock2D"]}, "equally long"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
    ],
)
def test_what_is_not_implemented_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        UNet({**TINY, **change})
