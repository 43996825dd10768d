"""The centre-based network: targets, loss, decoding."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from tasks.segmentation.copy_paste import Batch
from tasks.segmentation.panoptic_deeplab import (
    CentreLoss,
    CentreNetwork,
    centre_network_from_config,
    centre_targets,
    decode,
)
from tasks.segmentation.panoptic_inference import Inference


def _batch():
    """Two images: two touching objects and an ignored strip; no object at all."""
    instance = np.zeros((2, 32, 32), dtype=np.int32)
    instance[0, 4:14, 4:14], instance[0, 4:14, 14:22] = 3, 8
    category = np.where(instance == 3, 1, np.where(instance == 8, 0, -1)).astype(np.int64)
    semantic = np.where(instance > 0, 0, 2).astype(np.uint8)
    semantic[:, 20:] = 1
    semantic[:, :, 28:] = 255
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    return Batch(images, instance, category, semantic)


def _network(semantic=3, things=2, seed=0, **loss):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CentreNetwork(semantic, things, CentreLoss(**loss), Inference(instance_area_min=0.01), [4, 8])


class _Fixed(CentreNetwork):
    """Outputs are leaves, so that gradients with respect to them can be read."""

    def forward(self, images_BCHW):
        if not hasattr(self, "leaves"):
            generator = torch.Generator().manual_seed(0)
            shapes = [(2, 3, 32, 32), (2, 2, 32, 32), (2, 32, 32), (2, 2, 32, 32)]
            self.leaves = [torch.randn(s, generator=generator).requires_grad_() for s in shapes]
        return tuple(self.leaves)


def test_centres_are_centres_of_mass():
    batch = _batch()
    heat, way = centre_targets(batch.instance_BHW, 2.5)
    for number in (3, 8):
        mask = batch.instance_BHW[0] == number
        y, x = center_of_mass(mask)
        rows, columns = np.nonzero(mask)
        assert way[0, 0][mask] + rows == pytest.approx(y, abs=1e-4)
        assert way[0, 1][mask] + columns == pytest.approx(x, abs=1e-4)
    yy, xx = np.indices((32, 32))
    gaussians = [np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / (2 * 2.5**2)) for cy, cx in ((8.5, 8.5), (8.5, 17.5))]
    assert heat[0] == pytest.approx(np.maximum(*gaussians), abs=1e-6)
    assert not heat[1].any()
    assert not way[1].any()


def test_ignored_pixels_and_pixels_outside_objects_get_no_gradient():
    network = _Fixed(3, 2, CentreLoss(), Inference(), [4, 8])
    batch = _batch()
    torch.stack(list(network.losses(batch).values())).sum().backward()
    semantic, thing, centre, offset = (leaf.grad.numpy() for leaf in network.leaves)
    ignored, outside = batch.semantic_BHW == 255, batch.instance_BHW == 0
    assert not np.moveaxis(semantic, 1, -1)[ignored].any()
    assert not centre[ignored].any()
    assert np.moveaxis(semantic, 1, -1)[~ignored].all()
    assert centre[~ignored].all()
    for part in (thing, offset):
        assert not np.moveaxis(part, 1, -1)[outside].any()
        assert np.moveaxis(part, 1, -1)[~outside].any()


def test_loss_terms_against_numpy():
    network = _Fixed(3, 2, CentreLoss(semantic=1.0, thing=0.5, centre=50.0, offset=0.1), Inference(), [4, 8])
    batch = _batch()
    terms = {name: term.item() for name, term in network.losses(batch).items()}
    semantic, thing, centre, offset = (leaf.detach().numpy().astype(np.float64) for leaf in network.leaves)
    labelled, inside = batch.semantic_BHW != 255, batch.instance_BHW > 0
    heat, way = centre_targets(batch.instance_BHW, 2.5)
    log_s = np.moveaxis(semantic - np.log(np.exp(semantic).sum(1, keepdims=True)), 1, -1)[labelled]
    log_t = np.moveaxis(thing - np.log(np.exp(thing).sum(1, keepdims=True)), 1, -1)[inside]
    assert terms["semantic"] == pytest.approx(
        -log_s[np.arange(len(log_s)), batch.semantic_BHW[labelled]].mean(), rel=1e-4
    )
    assert terms["thing class"] == pytest.approx(
        -0.5 * log_t[np.arange(len(log_t)), batch.category_BHW[inside]].mean(), rel=1e-4
    )
    assert terms["centre"] == pytest.approx(50 * ((1 / (1 + np.exp(-centre)) - heat)[labelled] ** 2).mean(), rel=1e-4)
    distance = np.abs(offset - way).sum(axis=1)[inside].mean()
    assert terms["offset"] == pytest.approx(0.1 * distance, rel=1e-4)


def test_numbers_of_instances_do_not_matter():
    network, batch = _network(), _batch()
    renamed = np.where(batch.instance_BHW == 3, 40, np.where(batch.instance_BHW == 8, 1, 0)).astype(np.int32)
    with torch.no_grad():
        one = network.losses(batch)
        other = network.losses(Batch(batch.images_BHWC, renamed, batch.category_BHW, batch.semantic_BHW))
    assert {k: v.item() for k, v in one.items()} == pytest.approx({k: v.item() for k, v in other.items()}, rel=1e-6)


def test_nothing_labelled_and_no_object_is_no_loss():
    batch = _batch()
    void = Batch(
        batch.images_BHWC, np.zeros_like(batch.instance_BHW), batch.category_BHW, np.full_like(batch.semantic_BHW, 255)
    )
    assert all(term.item() == 0 for term in _network().losses(void).values())


def test_two_semantic_outputs_are_object_and_background():
    network, batch = _network(semantic=2, things=1), _batch()
    one = network.losses(batch)
    merged = np.where(batch.semantic_BHW == 2, 1, batch.semantic_BHW).astype(np.uint8)
    other = network.losses(Batch(batch.images_BHWC, batch.instance_BHW, batch.category_BHW, merged))
    assert one["semantic"].item() == other["semantic"].item()
    assert one["thing class"].item() == 0.0


def test_true_outputs_are_decoded_to_the_objects():
    batch = _batch()
    heat, way = centre_targets(batch.instance_BHW, 2.5)
    semantic = np.where(batch.semantic_BHW[0] == 255, 1, batch.semantic_BHW[0]).astype(int)
    semantic_logits = torch.from_numpy(20.0 * np.eye(3, dtype=np.float32)[semantic]).permute(2, 0, 1)
    thing_logits = torch.from_numpy(20.0 * np.eye(2, dtype=np.float32)[batch.category_BHW[0]]).permute(2, 0, 1)
    centre_logits = torch.from_numpy(np.log(heat[0].clip(1e-6, 0.99) / (1 - heat[0].clip(1e-6, 0.99))))
    outputs = semantic_logits, thing_logits, centre_logits, torch.from_numpy(way[0])
    found = decode(*outputs, Inference(centre_window=7, instance_area_min=0.01))
    assert sorted(found.category_D.tolist()) == [0, 1]
    for category, number in ((1, 3), (0, 8)):
        mask = found.masks_DHW[found.category_D == category][0]
        assert (mask == (batch.instance_BHW[0] == number)).all()
    assert (found.stuff_HW == np.where(semantic == 0, -1, semantic - 1)).all()
    # Off-grid centres: the heat map peaks at exp(-0.5 / (2 * 2.5^2)) on the nearest pixels.
    assert found.score_D == pytest.approx(heat[0].max(), abs=1e-3)
    assert len(decode(*outputs, Inference(instance_area_min=0.09)).score_D) == 1  # 80 and 100 of 1024 pixels
    assert len(decode(*outputs, Inference(centre_min=0.995)).score_D) == 0


def test_wide_window_keeps_one_of_two_near_centres():
    heat = torch.full((16, 16), -6.0)
    heat[8, 4], heat[8, 8] = 3.0, 2.0
    semantic, thing = torch.zeros(2, 16, 16), torch.zeros(1, 16, 16)
    semantic[0] = 5.0
    for window, count in ((7, 2), (9, 1)):
        settings = Inference(centre_window=window, instance_area_min=0.0)
        assert len(decode(semantic, thing, heat, torch.zeros(2, 16, 16), settings).score_D) == count


def test_network_rebuilds_from_its_configuration_at_any_size():
    network = _network()
    again = centre_network_from_config(json.loads(json.dumps(network.config())))
    again.load_state_dict(network.state_dict())
    images = np.random.default_rng(1).random((2, 30, 42, 3), dtype=np.float32)
    for one, other in zip(network.predict(images), again.predict(images), strict=True):
        assert (one.stuff_HW == other.stuff_HW).all()
        assert one.stuff_HW.shape == (30, 42)
    assert network.training


def test_the_loss_falls_on_one_batch():
    network, batch = _network(), _batch()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    totals = []
    for _ in range(40):
        total = torch.stack(list(network.losses(batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]
