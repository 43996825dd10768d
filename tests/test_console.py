"""Progress: live bars for a person; in a log one line now and then, and none for what is quick."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tasks import console
from tasks.jobs import ALL, Progress


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_a_log_gets_one_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.shown("self_train@toy") as listener:
        for step in range(1, 61):
            clock.now = float(step)
            listener("main seed 0", Progress(step, 60, {"loss": 1 / step}))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "self_train@toy main seed 0: 15/60 loss 0.06667 after 15 s",
        "self_train@toy main seed 0: 30/60 loss 0.03333 after 30 s",
        "self_train@toy main seed 0: 45/60 loss 0.02222 after 45 s",
        "self_train@toy main seed 0: 60/60 loss 0.01667 after 60 s",
    ]


def test_a_log_says_how_many_jobs_are_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of jobs that do not report steps."""
    with console.shown("evaluate@toy") as listener:
        for second, (label, report) in enumerate(
            [
                (ALL, Progress(1, 3)),
                ("main seed 2", Progress(4, 8, {"loss": 0.5})),
                (ALL, Progress(2, 3)),
            ],
            1,
        ):
            clock.now = 20.0 * second
            listener(label, report)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate@toy 1 of 3 jobs done after 20 s",
        "evaluate@toy main seed 2: 4/8 loss 0.5, 1 of 3 jobs done after 40 s",
        "evaluate@toy 2 of 3 jobs done after 60 s",
    ]


def test_what_is_quick_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.shown("cluster@toy") as listener:
        listener("main seed 0", Progress(5, 5, {}))
    assert capsys.readouterr() == ("", "")


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("FORCE_COLOR", "1")


def test_bars_for_a_person(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend_terminal(monkeypatch)
    with console.shown("self_train@toy") as listener:
        for step in range(1, 4):
            listener("main seed 0", Progress(step, 4, {"loss": 0.25}))
            listener("main seed 1", Progress(step, 4, {"loss": 0.5}))
    out, err = capsys.readouterr()
    assert out == ""
    for part in ("self_train@toy main seed 0", "self_train@toy main seed 1", "3/4", "loss 0.25", "loss 0.5"):
        assert part in err


def fail_with_bars() -> None:
    with console.shown("self_train@toy") as listener:
        listener("main seed 0", Progress(1, 4, {}))
        raise RuntimeError("failed")


def test_bars_end_with_the_stage_even_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., float]
) -> None:
    before = threading.active_count()
    pretend_terminal(monkeypatch)
    with pytest.raises(RuntimeError, match="failed"):
        fail_with_bars()
    wait_until(lambda: threading.active_count() == before, 5, "the thread of the bars ends")
