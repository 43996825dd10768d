"""A bidirectional LSTM over events and the time between them, pooled by time attention, and its autoencoder.

Shape legend: B batch, T events, V kinds of events, E event embedding, H hidden units of one direction, S = 2H.
"""

from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Pooling = Literal["time", "mean"]
LOG_GAP_SCALE = 5.0
TIME_WEIGHT = 0.5
EVENT_DROPOUT = 0.5


class TimeAttentionEncoder(nn.Module):
    """Events int64 [B, T] (0 is padding, at the end only) and gaps [B, T] in seconds -> embedding [B, S], weights [B, T].

    z_t = [E(e_t); log(1 + dt_t) / 5]; h_t = BiLSTM(z)_t; a = softmax over events of v' tanh(W h_t + w log(1 + dt_t) + b);
    the embedding is sum_t a_t h_t. `mean` weighs all events equally.
    """

    def __init__(self, n_events: int, embed: int, hidden: int, pooling: Pooling = "time"):
        super().__init__()
        self.n_events, self.pooling = n_events, pooling
        self.event = nn.Embedding(n_events + 1, embed, padding_idx=0)
        self.lstm = nn.LSTM(embed + 1, hidden, batch_first=True, bidirectional=True)
        self.score_state = nn.Linear(2 * hidden, 2 * hidden)
        self.score_time = nn.Linear(1, 2 * hidden, bias=False)
        self.score = nn.Linear(2 * hidden, 1, bias=False)

    def forward(self, events_BT: torch.Tensor, gaps_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        real_BT = events_BT > 0
        log_gap_BT1 = torch.log1p(gaps_BT)[..., None]
        z_BTE = torch.cat([self.event(events_BT), log_gap_BT1 / LOG_GAP_SCALE], dim=2)
        # Packed, so that the backward direction starts at the last event and not in the padding.
        packed = pack_padded_sequence(z_BTE, real_BT.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        h_BTS, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=events_BT.shape[1])
        if self.pooling == "time":
            score_BT = self.score(torch.tanh(self.score_state(h_BTS) + self.score_time(log_gap_BT1)))[..., 0]
            weight_BT = torch.softmax(score_BT.masked_fill(~real_BT, -torch.inf), dim=1)
        else:
            weight_BT = real_BT / real_BT.sum(1, keepdim=True)
        return (weight_BT[..., None] * h_BTS).sum(1), weight_BT

    def config(self) -> dict:
        """JSON from which the encoder can be built again."""
        return {
            "n_events": self.n_events,
            "embed": self.event.embedding_dim,
            "hidden": self.lstm.hidden_size,
            "pooling": self.pooling,
        }


class SequenceAutoencoder(nn.Module):
    """The encoder, and a GRU that tells the events and gaps again from the embedding alone."""

    def __init__(self, encoder: TimeAttentionEncoder):
        super().__init__()
        embed, size = encoder.event.embedding_dim, 2 * encoder.lstm.hidden_size
        self.encoder = encoder
        self.start = nn.Linear(size, size)
        self.decoder = nn.GRU(embed + size, size, batch_first=True)
        self.next_event = nn.Linear(size, encoder.n_events)
        self.next_gap = nn.Linear(size, 1)

    def loss(self, events_BT: torch.Tensor, gaps_BT: torch.Tensor, dropped_BT: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of e_t + 0.5 * squared error of log(1 + dt_t), mean over events.

        The decoder sees [E(e_{t-1}); s], with E = 0 at the first step and where `dropped_BT` (of the event before).
        """
        s_BS, _ = self.encoder(events_BT, gaps_BT)
        before_BT = torch.cat([torch.zeros_like(events_BT[:, :1]), events_BT[:, :-1]], dim=1)
        before_BTE = self.encoder.event(before_BT.masked_fill(dropped_BT, 0))
        s_BTS = s_BS[:, None].expand(-1, events_BT.shape[1], -1)
        state_1BS = torch.tanh(self.start(s_BS))[None]
        h_BTS, _ = self.decoder(torch.cat([before_BTE, s_BTS], dim=2), state_1BS)
        real_BT = events_BT > 0
        h_nS = h_BTS[real_BT]
        event_loss = nn.functional.cross_entropy(self.next_event(h_nS), events_BT[real_BT] - 1)
        gap_loss = nn.functional.mse_loss(self.next_gap(h_nS)[:, 0], torch.log1p(gaps_BT[real_BT]))
        return event_loss + TIME_WEIGHT * gap_loss


def build_autoencoder(n_events: int, embed: int, hidden: int, pooling: Pooling, seed: int) -> SequenceAutoencoder:
    """A freshly initialised autoencoder; equal seeds give equal weights, the global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SequenceAutoencoder(TimeAttentionEncoder(n_events, embed, hidden, pooling))


def encoder_from_config(config: dict, state: dict[str, np.ndarray]) -> TimeAttentionEncoder:
    """Rebuild an encoder from `Network.config` and `Network.state`."""
    encoder = TimeAttentionEncoder(**config)
    encoder.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    return encoder.eval()


@torch.no_grad()
def encode(
    encoder: TimeAttentionEncoder, events_NT: torch.Tensor, gaps_NT: torch.Tensor, batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Embedding float32 [N, S] and attention float32 [N, T] of all sequences."""
    parts = [
        encoder(events_NT[i : i + batch_size], gaps_NT[i : i + batch_size])
        for i in range(0, len(events_NT), batch_size)
    ]
    embedding_NS, weight_NT = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return embedding_NS, weight_NT


def check_sequences(events_NT: np.ndarray, gaps_NT: np.ndarray, n_events: int) -> None:
    """ValueError naming the first bad row: shapes, ids, gaps, an empty sequence, padding before an event."""
    if events_NT.ndim != 2 or events_NT.shape != gaps_NT.shape:
        raise ValueError(f"dataset: events {events_NT.shape} and gaps {gaps_NT.shape} must both be [samples, length]")
    real_NT = events_NT > 0
    problems = {
        f"an event id outside 0..{n_events}": ((events_NT < 0) | (events_NT > n_events)).any(axis=1),
        "a gap that is negative or not finite": (~np.isfinite(gaps_NT) | (gaps_NT < 0)).any(axis=1),
        "no event": ~real_NT.any(axis=1),
        "padding before an event; pad at the end": (real_NT[:, 1:] & ~real_NT[:, :-1]).any(axis=1),
    }
    for what, bad_N in problems.items():
        if bad_N.any():
            raise ValueError(f"dataset: sequence {int(bad_N.argmax())} has {what} ({int(bad_N.sum())} such rows)")
