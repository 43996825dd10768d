import numpy as np
import pytest
import torch

from tasks.artifacts import network_of
from tasks.sequences.time_attention import build_autoencoder, check_sequences, encode, encoder_from_config


def batch(lengths: list[int], width: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    real = np.arange(width) < np.array(lengths)[:, None]
    events = np.where(real, rng.integers(1, 8, real.shape), 0)
    gaps = np.where(real, rng.lognormal(2, 1, real.shape), 0).astype(np.float32)
    return torch.from_numpy(events), torch.from_numpy(gaps)


@pytest.mark.parametrize("pooling", ["time", "mean"])
def test_padding_changes_nothing_and_weighs_nothing(pooling):
    encoder = build_autoencoder(7, 4, 5, pooling, 0).encoder
    events, gaps = batch([12, 5, 1])
    with torch.no_grad():
        embedding, weight = encoder(events, gaps)
        assert torch.allclose(weight.sum(1), torch.ones(3), atol=1e-6)
        assert (weight[events == 0] == 0).all()
        for row, length in enumerate([12, 5, 1]):
            alone, _ = encoder(events[row : row + 1, :length], gaps[row : row + 1, :length])
            assert torch.allclose(embedding[row], alone[0], atol=1e-6)
        if pooling == "mean":
            assert torch.allclose(weight[1, :5], torch.full((5,), 0.2))


def test_a_sequence_of_one_event_has_all_the_attention():
    encoder = build_autoencoder(7, 4, 5, "time", 0).encoder
    with torch.no_grad():
        _, weight = encoder(*batch([1]))
    assert weight[0].tolist() == [1.0] + [0.0] * 11


def test_embedding_and_attention_by_hand():
    encoder = build_autoencoder(7, 4, 5, "time", 0).encoder
    events, gaps = batch([6], width=6)
    with torch.no_grad():
        embedding, weight = encoder(events, gaps)
        z = torch.cat([encoder.event(events), torch.log1p(gaps)[..., None] / 5], dim=2)
        h = encoder.lstm(z)[0][0]
        score = [
            encoder.score.weight[0]
            @ torch.tanh(
                encoder.score_state.weight @ h[t]
                + encoder.score_state.bias
                + encoder.score_time.weight[:, 0] * torch.log1p(gaps[0, t])
            )
            for t in range(6)
        ]
        a = torch.softmax(torch.stack(score), 0)
    assert torch.allclose(weight[0], a, atol=1e-6)
    assert torch.allclose(embedding[0], (a[:, None] * h).sum(0), atol=1e-6)


def test_time_between_events_matters():
    encoder = build_autoencoder(7, 4, 5, "time", 0).encoder
    events, gaps = batch([8])
    with torch.no_grad():
        assert not torch.allclose(encoder(events, gaps)[0], encoder(events, gaps * 10)[0], atol=1e-3)


def test_loss_by_hand_for_a_decoder_that_knows_nothing():
    """With all output weights 0: log(V) for the events, mean of log(1 + dt)^2 / 2 for the gaps; padding not counted."""
    model = build_autoencoder(7, 4, 5, "time", 0)
    for layer in (model.next_event, model.next_gap):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    events, gaps = batch([12, 3])
    loss = model.loss(events, gaps, torch.zeros_like(events, dtype=torch.bool))
    expected = np.log(7) + 0.5 * (torch.log1p(gaps[events > 0]) ** 2).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_decoder_sees_the_past_only_through_dropout_and_the_embedding():
    model = build_autoencoder(7, 4, 5, "time", 0)
    events, gaps = batch([12, 9])
    dropped = torch.ones_like(events, dtype=torch.bool)
    kept = model.loss(events, gaps, ~dropped)
    blind = model.loss(events, gaps, dropped)
    assert kept.item() != blind.item()
    blind.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.encoder.event.weight.grad is not None
    assert (model.encoder.event.weight.grad[0] == 0).all()


def test_gradient_of_the_attention_is_right():
    encoder = build_autoencoder(7, 3, 2, "time", 0).encoder.double()
    events, gaps = batch([5, 2], width=5)
    assert torch.autograd.gradcheck(lambda g: encoder(events, g)[0], gaps.double().requires_grad_())


def test_seeds_and_saved_weights():
    one, two, other = (build_autoencoder(7, 4, 5, "time", s).encoder for s in (1, 1, 2))
    events, gaps = batch([12, 5, 1, 7])
    assert np.array_equal(encode(one, events, gaps)[0], encode(two, events, gaps)[0])
    assert not np.array_equal(encode(one, events, gaps)[0], encode(other, events, gaps)[0])
    network = network_of(one, one.config())
    again = encoder_from_config(network.config, network.state)
    assert np.array_equal(encode(one, events, gaps)[0], encode(again, events, gaps)[0])
    assert np.allclose(encode(one, events, gaps)[0], encode(one, events, gaps, batch_size=3)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("row", "column", "event", "gap", "message"),
    [
        (1, 2, 9, 1.0, "sequence 1 has an event id outside 0..7"),
        (2, 0, -1, 1.0, "sequence 2 has an event id outside 0..7"),
        (0, 1, 3, np.nan, "sequence 0 has a gap that is negative or not finite"),
        (0, 1, 3, -1.0, "sequence 0 has a gap that is negative or not finite"),
        (2, 0, 0, 0.0, "sequence 2 has no event"),
        (0, 1, 0, 0.0, "sequence 0 has padding before an event"),
    ],
)
def test_bad_sequences(row, column, event, gap, message):
    events, gaps = (x.numpy().copy() for x in batch([12, 5, 1]))
    check_sequences(events, gaps, 7)
    events[row, column], gaps[row, column] = event, gap
    with pytest.raises(ValueError, match=message):
        check_sequences(events, gaps, 7)
    with pytest.raises(ValueError, match="must both be"):
        check_sequences(events, gaps[:, :3], 7)
