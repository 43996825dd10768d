import numpy as np
import pytest
import torch
from torch import nn

from tasks.nn.pbn import PBN, UNLABELLED, PBNSettings, latents, reconstruction_error, train_pbn, unit_rows, widths
from tasks.nn.training import Optimizer


def network(dropout=0.2, seed=0):
    torch.manual_seed(seed)
    return PBN(12, widths(12, [0.75, 0.5]), 4, 3, dropout)


@pytest.fixture(autouse=True)
def torch_state():
    with torch.random.fork_rng(devices=[]):
        yield


def settings(**changes):
    base = {
        "hidden": [0.75, 0.5], "latent": 4, "w": 0.5, "dropout": 0.2, "batch_size": 16, "epochs": 3,
        "optimizer": Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    }  # fmt: skip
    return PBNSettings(**{**base, **changes})


def rows(n=40, labelled=25, seed=0):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) < labelled, np.arange(n) % 3, UNLABELLED)
    return rng.normal(size=(n, 12)).astype(np.float32), y


def test_order_of_layers():
    net = network()
    assert widths(61, [0.75, 0.5]) == [45, 30]
    assert widths(1, [0.5]) == [1]
    hidden = ["Linear", "ReLU", "BatchNorm1d", "Dropout"]
    for part, sizes in ((net.encoder, [12, 9, 6, 4]), (net.decoder, [4, 6, 9, 12])):
        assert [type(layer).__name__ for layer in part] == hidden * 2 + ["Linear"]
        linear = [layer for layer in part if isinstance(layer, nn.Linear)]
        assert [linear[0].in_features, *(layer.out_features for layer in linear)] == sizes
    assert isinstance(net.classifier, nn.Linear)


def test_reconstruction_sums_over_columns_and_averages_over_rows():
    x, r = torch.randn(7, 12), torch.randn(7, 12)
    by_hand = sum(float((x[i] - r[i]).square().sum()) for i in range(7)) / 7
    assert float(reconstruction_error(x, r)) == pytest.approx(by_hand, rel=1e-5)
    assert float(reconstruction_error(x, r)) == pytest.approx(12 * float(nn.functional.mse_loss(x, r)), rel=1e-5)


def test_loss_is_the_weighted_sum_over_the_right_rows():
    net, w = network(dropout=0.0).eval(), 0.3
    x, y = torch.randn(9, 12), torch.tensor([0, 1, 2, 1, -1, -1, -1, 0, -1])
    z = net.encoder(x)
    z = z / z.norm(dim=1, keepdim=True)
    known = [i for i in range(9) if y[i] >= 0]
    ce = -sum(torch.log_softmax(net.classifier(z), dim=1)[i, y[i]] for i in known) / len(known)
    rec = (x - net.decoder(z)).square().sum() / 9
    assert net.loss(x, y, w).item() == pytest.approx((w * ce + (1 - w) * rec).item(), rel=1e-5)


def test_a_batch_without_known_rows_has_no_classification_term():
    net = network(dropout=0.0).eval()
    x = torch.randn(5, 12)
    loss = net.loss(x, torch.full((5,), -1), 0.4)
    z = nn.functional.normalize(net.encoder(x), dim=1)
    assert loss.item() == pytest.approx(0.6 * reconstruction_error(x, net.decoder(z)).item(), rel=1e-5)


def test_w_0_gives_the_classifier_no_gradient_and_w_1_the_decoder_none():
    x, y = torch.randn(9, 12), torch.arange(9) % 3
    net = network()
    net.loss(x, y, 0.0).backward()
    assert all((p.grad == 0).all() for p in net.classifier.parameters())
    assert any((p.grad != 0).any() for p in net.decoder.parameters())
    net = network()
    net.loss(x, y, 1.0).backward()
    assert all(p.grad is None for p in net.decoder.parameters())
    assert any((p.grad != 0).any() for p in net.encoder.parameters())


def test_w_1_on_known_rows_is_a_plain_classifier_bit_for_bit():
    """Against a training loop written here, with nothing but encoder, classifier and cross-entropy."""
    x, y = rows(labelled=40)
    seed = np.random.SeedSequence(5)
    trained, _ = train_pbn(x, y, settings(w=1.0), np.random.SeedSequence(5))
    order_seed, torch_seed = seed.spawn(2)
    rng = np.random.default_rng(order_seed)
    torch.manual_seed(int(torch_seed.generate_state(1, np.uint64)[0]))
    net = PBN(12, [9, 6], 4, 3, 0.2).train()
    optimizer = torch.optim.AdamW([*net.encoder.parameters(), *net.classifier.parameters()], lr=1e-3, weight_decay=0.01)
    for _ in range(3):
        order = torch.from_numpy(rng.permutation(np.arange(40)))
        for batch in order.split(16):
            z = nn.functional.normalize(net.encoder(torch.from_numpy(x)[batch]), dim=1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.classifier(z), torch.from_numpy(y)[batch]).backward()
            optimizer.step()
    for name, value in net.encoder.state_dict().items():
        assert torch.equal(value, trained.encoder.state_dict()[name]), name


def test_batch_norm_statistics_are_those_of_the_rows_trained_on():
    """A shift of the novel rows moves them if these are trained on, and cannot if they are not."""
    x, y = rows()
    moved = x.copy()
    moved[y < 0] += 5
    statistics = {}
    for name, table in (("as is", x), ("moved", moved)):
        for kind, used in (("all", y >= -1), ("known", y >= 0)):
            net, _ = train_pbn(table[used], y[used], settings(epochs=1), np.random.SeedSequence(0))
            statistics[name, kind] = net.encoder[2].running_mean.clone()
    assert torch.equal(statistics["as is", "known"], statistics["moved", "known"])
    assert not torch.equal(statistics["as is", "all"], statistics["moved", "all"])


def test_embedding_is_in_evaluation_mode():
    net = network(dropout=0.5).train()
    x, _ = rows()
    whole = latents(net, x)
    assert net.training
    np.testing.assert_allclose(whole[:1], latents(net, x[:1]), atol=1e-6)
    assert (latents(net, x) == whole).all()
    np.testing.assert_allclose(np.linalg.norm(unit_rows(whole).astype(np.float64), axis=1), 1, atol=1e-6)


def test_dead_encoder_is_named():
    z = np.ones((4, 3), np.float32)
    z[2] = 0
    with pytest.raises(ValueError, match="row 2 is zero"):
        unit_rows(z)


def test_a_last_batch_of_one_row_is_left_out():
    x, y = rows(n=33)
    net, curve = train_pbn(x, y, settings(), np.random.SeedSequence(0))
    assert int(net.encoder[2].num_batches_tracked) == 2 * 3
    assert len(curve) == 3


def test_seed_and_global_state():
    x, y = rows()
    before = torch.random.get_rng_state()
    first, again, other = (train_pbn(x, y, settings(), np.random.SeedSequence(s))[0].state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.weight"], other["encoder.0.weight"])


def test_one_known_class_is_refused():
    x, y = rows()
    with pytest.raises(ValueError, match="at least two"):
        train_pbn(x, np.minimum(y, 0), settings(), np.random.SeedSequence(0))
