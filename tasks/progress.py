"""How a step says how far it is, without knowing who listens.

A step calls `report(step, total, loss=...)`; the runner of the job installs a listener. Steps stay pure:
nothing they return depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Listener = Callable[[int, int, dict[str, float]], None]
_listener: Listener | None = None


def report(step: int, total: int, **values: float) -> None:
    """Tell the listener, if any, that `step` of `total` is done, with current values such as the loss."""
    if _listener is not None:
        _listener(step, total, values)


def listen(listener: Listener | None) -> None:
    """Install (or with None remove) this process's listener."""
    global _listener
    _listener = listener


def steps(total: int) -> Iterator[int]:
    """0..total-1, reporting after each."""
    for step in range(total):
        yield step
        report(step + 1, total)
