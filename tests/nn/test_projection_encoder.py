import pytest
import torch
from torch.nn.functional import normalize

from tasks.nn.projection_encoder import ProjectionEncoder, ProjectionEncoderSettings, build_projection_encoder

SMALL = ProjectionEncoderSettings(architecture="conv", widths=[4, 6], hidden=5, projection=3)


def views(*sizes: int, batch: int = 4, channels: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(batch, size, size, channels, generator=generator) for size in sizes]


def test_projections_are_unit_vectors_in_the_order_of_the_views():
    network = build_projection_encoder(SMALL, (8, 8, 1), 0).eval()
    crops = views(8, 8, 6, 8)
    z = network.project(crops)
    assert z.shape == (4, 4, 3)
    assert torch.allclose(z.norm(dim=2), torch.ones(4, 4), atol=1e-6)
    for index, crop in enumerate(crops):
        assert torch.allclose(z[index], normalize(network.head(network(crop)), dim=1), atol=1e-6)


def test_views_of_one_size_share_batch_statistics_and_the_head_sees_all():
    network = build_projection_encoder(SMALL, (8, 8, 1), 0).train()
    crops = views(8, 8, 6, 6)
    features = torch.cat([network(torch.cat(crops[:2])), network(torch.cat(crops[2:]))])
    expected = normalize(network.head(features), dim=1)
    assert torch.allclose(network.project(crops).flatten(0, 1), expected, atol=1e-6)
    apart = torch.cat([network(crop) for crop in crops])
    assert not torch.allclose(features, apart, atol=1e-3)


def test_channels_are_normalised_first():
    plain = ProjectionEncoderSettings(widths=[5, 4], hidden=3, projection=2)
    scaled = plain.model_copy(update={"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]})
    one, other = (build_projection_encoder(settings, (6, 6, 3), 0).eval() for settings in (plain, scaled))
    image = views(6, channels=3)[0]
    by_hand = (image - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.3, 0.4])
    assert torch.allclose(other(image), one(by_hand), atol=1e-5)
    assert set(one.state_dict()) == set(other.state_dict())


def test_resnet50_has_2048_features_at_any_size():
    settings = ProjectionEncoderSettings(architecture="resnet50", hidden=8, projection=4)
    network = ProjectionEncoder(settings, (32, 32, 3)).eval()
    with torch.no_grad():
        assert network(views(32, batch=1, channels=3)[0]).shape == (1, 2048)
        assert network.project(views(64, 32, batch=1, channels=3)).shape == (2, 1, 4)
    # He et al., table 1: 25.6 million parameters, of which 2.05 million are the classifier's, absent here.
    assert sum(p.numel() for p in network.backbone.parameters()) == 25_557_032 - 2_049_000


def test_seed_and_global_state():
    state = torch.random.get_rng_state()
    first, again, other = (build_projection_encoder(SMALL, (8, 8, 1), seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    image = views(8)[0]
    assert torch.equal(first.eval()(image), again.eval()(image))
    assert not torch.equal(first(image), other.eval()(image))


def test_bad_input():
    with pytest.raises(ValueError, match=r"encoder\.mean: 3 values for images of 1 channels"):
        ProjectionEncoder(SMALL.model_copy(update={"mean": [0.1, 0.2, 0.3]}), (8, 8, 1))
