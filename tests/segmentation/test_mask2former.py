"""The query-based network, tiny and randomly initialised."""

import json

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from tasks.segmentation.copy_paste import Batch
from tasks.segmentation.mask2former import (
    DropLoss,
    QueryNetwork,
    QueryNetworkSettings,
    decode_queries,
    overlap_with_masks,
    query_network_config,
)

TINY = QueryNetworkSettings(
    depths=[1, 1, 1, 1], widths=[16, 16, 32, 32], hidden=32, queries=8, layers=[1, 1], heads=2, points=64
)


def _batch():
    instance = np.zeros((2, 64, 64), dtype=np.int32)
    instance[0, 8:30, 8:30], instance[0, 36:60, 36:60] = 1, 2
    category = np.where(instance == 1, 0, np.where(instance == 2, 1, -1)).astype(np.int64)
    semantic = np.where(instance > 0, 0, 1).astype(np.uint8)
    semantic[:, :4] = 255
    images = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32) * 0.2
    images[instance > 0] += 0.7
    return Batch(images, instance, category, semantic)


def _network(things=2, stuff=1, drop_loss=False, seed=0, settings=TINY):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QueryNetwork(things, stuff, settings, drop_loss, seed)


@pytest.mark.parametrize("drop_loss", [False, True])
def test_the_loss_falls(drop_loss):
    network, batch = _network(drop_loss=drop_loss), _batch()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    totals = []
    for _ in range(12):
        terms = network.losses(batch)
        assert set(terms) == {"class", "mask", "dice", "semantic"}
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.mean(totals[-3:]) < 0.9 * np.mean(totals[:3])


def test_global_random_state_is_untouched_and_equal_seeds_are_equal():
    batch, state = _batch(), torch.random.get_rng_state()
    one, other = (_network().losses(batch) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in other.items()}
    different = _network(seed=1).losses(batch)
    assert one["mask"].item() != different["mask"].item()


def test_images_without_objects_and_stuff_train_too():
    batch = _batch()
    empty = Batch(
        batch.images_BHWC, np.zeros_like(batch.instance_BHW), batch.category_BHW, np.full_like(batch.semantic_BHW, 255)
    )
    assert all(np.isfinite(term.item()) for term in _network().losses(empty).values())
    assert set(_network(things=1, stuff=0).losses(batch)) == {"class", "mask", "dice"}


def test_void_has_no_part_in_the_semantic_loss():
    network, batch = _network(), _batch()
    flipped = np.where(batch.semantic_BHW == 255, 255, batch.semantic_BHW).astype(np.uint8)
    flipped[:, 0, 0] = 1
    output = network.network(torch.from_numpy(batch.images_BHWC).permute(0, 3, 1, 2) - 0.5)
    device = torch.device("cpu")
    count = int((batch.semantic_BHW != 255).sum())
    one = network._semantic_loss(output, batch, device).item() * count
    more = Batch(batch.images_BHWC, batch.instance_BHW, batch.category_BHW, flipped)
    other = network._semantic_loss(output, more, device).item() * (count + 2)
    assert other - one > 1e-4  # two more labelled pixels add their own terms and nothing else
    void = Batch(batch.images_BHWC, batch.instance_BHW, batch.category_BHW, np.full_like(flipped, 255))
    assert network._semantic_loss(output, void, device).item() == 0.0


def test_overlap_of_a_query_with_masks_of_another_size():
    logits = torch.full((3, 4, 4), -1.0)
    logits[0, :2, :2] = 1.0  # the upper left quarter
    logits[1, 3, 3] = 1.0
    masks = torch.zeros(1, 16, 16)
    masks[0, :8, :4] = 1.0  # half of that quarter
    assert overlap_with_masks(logits, masks).tolist() == [0.5, 0.0, 0.0]
    assert overlap_with_masks(logits, masks[:0]).tolist() == [0.0, 0.0, 0.0]


def test_drop_loss_frees_queries_far_from_every_mask():
    """Two unmatched queries, one on a pseudo-mask and one elsewhere: only the latter's class is free."""
    config = Mask2FormerConfig(num_labels=2, train_num_points=64)
    masks = torch.zeros(1, 16, 16)
    masks[0, :8, :8] = 1.0
    mask_logits = torch.full((1, 3, 16, 16), -8.0)
    mask_logits[0, 0, :8, :8] = mask_logits[0, 1, 2:8, 2:8] = mask_logits[0, 2, 10:, 10:] = 8.0
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    for criterion, free in ((DropLoss(config, weights, things=1), True), (_plain(config), False)):
        class_logits = torch.zeros(1, 3, 3, requires_grad=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = criterion(mask_logits, class_logits, [masks], [torch.tensor([0])])
        losses["loss_cross_entropy"].backward()
        assert class_logits.grad is not None
        moved = class_logits.grad[0].abs().sum(dim=1) > 0
        assert moved.tolist() == [True, True, not free]


def _plain(config):
    return Mask2FormerForUniversalSegmentation(query_network_config(config.num_labels, TINY)).criterion


def test_drop_loss_equals_the_plain_loss_when_every_query_overlaps():
    config = Mask2FormerConfig(num_labels=3, train_num_points=64)
    generator = torch.Generator().manual_seed(0)
    masks, logits = torch.zeros(2, 16, 16), torch.randn(1, 5, 16, 16, generator=generator)
    masks[0, :, :8], masks[1] = 1.0, 1.0
    class_logits = torch.randn(1, 5, 4, generator=generator)
    values = []
    for criterion in (DropLoss(config, {}, things=3), _plain(config)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            values.append(criterion(logits, class_logits, [masks], [torch.tensor([0, 2])])["loss_cross_entropy"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_queries_are_decoded_to_detections_and_stuff():
    """Labels: things 0, 1, stuff 2; the last column is no object."""
    probability = torch.tensor([[0.1, 0.8, 0.0, 0.1], [0.0, 0.0, 0.9, 0.1], [0.2, 0.1, 0.0, 0.7]])
    masks = torch.zeros(3, 8, 8)
    masks[0, :4, :4], masks[1, 4:], masks[2] = 0.9, 0.95, 0.6
    found = decode_queries(probability, masks, things=2, stuff=1)
    assert found.category_D.tolist() == [1]
    assert found.score_D == pytest.approx([0.8 * 0.9])
    assert found.masks_DHW[0].sum() == 16
    assert (found.stuff_HW[4:] == 0).all()
    assert (found.stuff_HW[:4] == -1).all()
    assert (found.thing_HW[:4, :4] == 1).all()
    assert (found.thing_HW[4:] == -1).all()


def test_saved_configuration_is_read_by_transformers(tmp_path):
    network = _network()
    config = json.loads(json.dumps(network.config()))
    again = Mask2FormerForUniversalSegmentation(Mask2FormerConfig.from_dict(config))
    again.load_state_dict(network.network.state_dict())
    assert (config["thing_clusters"], config["stuff_clusters"]) == (2, 1)


def test_swin_widths_must_double():
    with pytest.raises(ValueError, match="swin doubles"):
        query_network_config(3, QueryNetworkSettings(backbone="swin", widths=[16, 16, 32, 64]))
    config = query_network_config(
        3, QueryNetworkSettings(backbone="swin", depths=[1, 1, 1, 1], widths=[32, 64, 128, 256])
    )
    assert config.backbone_config.model_type == "swin"
