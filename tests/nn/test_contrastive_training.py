import copy

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.artifacts import Dataset
from tasks.nn.contrastive_losses import EMPTY, nt_xent
from tasks.nn.contrastive_training import (
    KeyQueue,
    Schedule,
    features,
    follow_network,
    labeled_images,
    projected,
    train_contrastive,
)
from tasks.nn.encoder import EncoderSettings, build_encoder
from tasks.nn.training import Optimizer
from tasks.vision.augmentation import Augmentation

MLP = EncoderSettings(widths=[6], projection=[4])


def make(labels=(0, 1, 0, 1, 0, 1), test=2) -> Dataset:
    n = len(labels) + test
    samples = pd.DataFrame(
        {
            "sample": np.arange(n),
            # Test rows first: rows of the data set are not rows of train.
            "split": pd.Series(["test"] * test + ["train"] * len(labels), dtype="str"),
            "given_label": pd.array([None] * test + list(labels), dtype="Int64"),
        }
    )
    images = np.random.default_rng(0).random((n, 3, 3, 1), dtype=np.float32)
    return Dataset({"samples": samples}, {"images": images})


def schedule(queue=0, epochs=2, **options) -> Schedule:
    return Schedule(epochs, 2, Optimizer(lr=0.01), Augmentation(noise=0.1), queue, **options)


def trained(seed=0, settings=None, **options):
    network = build_encoder(MLP, (3, 3, 1), 0)
    curve = train_contrastive(
        network,
        labeled_images(make()),
        lambda pairs: nt_xent(pairs, 0.2),
        settings or schedule(),
        seed=np.random.SeedSequence(seed),
        **options,
    )
    return network, curve


def weights(network) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in network.parameters())


@pytest.mark.parametrize("queue", [0, 5])
def test_seed_decides_everything(queue):
    torch.manual_seed(1)
    first = weights(trained(0, schedule(queue))[0])
    torch.manual_seed(2)
    assert weights(trained(0, schedule(queue))[0]) == first
    assert weights(trained(1, schedule(queue))[0]) != first


def test_labels_by_row():
    data = labeled_images(make())
    assert data.class_n.tolist() == [-1, -1, 0, 1, 0, 1, 0, 1]
    assert data.rows.tolist() == [2, 3, 4, 5, 6, 7]
    assert data.image_shape == (3, 3, 1)


def test_the_loss_sees_each_row_twice_under_its_own_number():
    seen = []

    def loss(pairs):
        seen.append(pairs.anchor_row_A1[:, 0].tolist())
        assert torch.allclose(pairs.cosine_AN.diagonal(), torch.ones(len(pairs.cosine_AN)))
        return nt_xent(pairs, 0.2)

    train_contrastive(
        build_encoder(MLP, (3, 3, 1), 0),
        labeled_images(make()),
        loss,
        schedule(epochs=1),
        seed=np.random.SeedSequence(0),
    )
    assert all(rows[:2] == rows[2:] for rows in seen)
    assert sorted(row for rows in seen for row in rows[:2]) == [2, 3, 4, 5, 6, 7]


def test_queue_of_keys():
    queue = KeyQueue(3, 2)
    assert queue.rows_Q.tolist() == [EMPTY] * 3
    queue.push(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([7, 8]))
    assert queue.rows_Q.tolist() == [7, 8, EMPTY]
    queue.push(torch.tensor([[3.0, 0.0], [4.0, 0.0]]), torch.tensor([9, 4]))
    assert queue.rows_Q.tolist() == [4, 8, 9]
    assert queue.keys_QD[:, 0].tolist() == [4, 2, 3]
    queue.push(torch.arange(10.0).reshape(5, 2), torch.arange(5))
    assert sorted(queue.rows_Q.tolist()) == [2, 3, 4]


def test_queue_offers_earlier_rows_and_never_the_future():
    offered = []

    def loss(pairs):
        assert pairs.own_AN[:, 0].all()
        assert (pairs.candidate_row_AN[:, :1] == pairs.anchor_row_A1).all()
        offered.append((pairs.anchor_row_A1[:, 0].tolist(), set(pairs.candidate_row_AN[0, 1:].tolist())))
        return nt_xent(pairs, 0.2)

    train_contrastive(
        build_encoder(MLP, (3, 3, 1), 0),
        labeled_images(make()),
        loss,
        schedule(queue=4, epochs=2),
        seed=np.random.SeedSequence(0),
    )
    assert offered[0][1] == {EMPTY}
    assert offered[1][1] == {EMPTY, *offered[0][0]}
    assert offered[3][1] == {*offered[1][0], *offered[2][0]}


def test_follower_follows_and_is_what_is_clustered():
    encoders = []
    network, _ = trained(
        0,
        schedule(queue=4, epochs=3, momentum=0.9),
        before_epoch=lambda e, encoder: encoders.append(copy.deepcopy(encoder)),
    )
    start = build_encoder(MLP, (3, 3, 1), 0)
    assert weights(encoders[0]) == weights(start)
    moved, full = (
        sum((a - b).abs().sum().item() for a, b in zip(n.parameters(), start.parameters(), strict=True))
        for n in (encoders[2], network)
    )
    assert 0 < moved < full
    same = []
    network, _ = trained(0, schedule(), before_epoch=lambda e, encoder: same.append(encoder))
    assert all(encoder is network for encoder in same)


def test_follow_by_hand():
    slow, fast = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        slow.weight.fill_(1.0)
        fast.weight.fill_(3.0)
    fast.running_mean = torch.tensor([5.0, 6.0])
    follow_network(slow, fast, 0.75)
    assert slow.weight.tolist() == [1.5, 1.5]
    assert slow.running_mean is not None
    assert slow.running_mean.tolist() == [5, 6]


def test_projections_are_of_clean_train_rows_in_evaluation_mode():
    network = build_encoder(EncoderSettings(architecture="conv", widths=[4, 4], projection=[4]), (3, 3, 1), 0).train()
    data = labeled_images(make())
    representation = projected(network, data, 0.1)
    representation.check()
    assert network.training
    assert representation.tables["units"]["sample"].tolist() == data.rows.tolist()
    z = representation.arrays["embedding"]
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    with torch.no_grad():
        alone = torch.nn.functional.normalize(network.eval()(torch.from_numpy(data.images[3:4])), dim=1)
    np.testing.assert_allclose(z[1], alone[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        features(network, data.images, data.rows, chunk=2), features(network, data.images, data.rows), rtol=1e-5
    )


def test_bad_input():
    with pytest.raises(ValueError, match="class 1 of 3 has no sample"):
        labeled_images(make([0, 2, 0]))
    with pytest.raises(ValueError, match="2 rows have no 'given_label'"):
        labeled_images(make([0, None, 1, None]))
    dataset = make()
    del dataset.arrays["images"]
    with pytest.raises(ValueError, match="'images' is needed"):
        labeled_images(dataset)
    network = build_encoder(MLP, (3, 3, 1), 0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match="projection is zero"):
        projected(network, labeled_images(make()), 0.1)
