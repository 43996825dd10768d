"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

from flows.live import Past, View, past, remaining
from tasks import cores
from tasks.jobs import Usage
from tasks.record import write_run

CHAIN = {"a": set[str](), "b": {"a"}, "c": {"a", "b"}}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.delenv("UNLABELED_JOBS", raising=False)
    monkeypatch.setenv("UNLABELED_SECONDS_BETWEEN_LINES", "1")  # so that it is taken back after the test
    monkeypatch.chdir(tmp_path)
    assert cores.count() == 2


def test_chain_takes_the_sum_of_its_stages_even_on_many_cores() -> None:
    pasts = dict.fromkeys(CHAIN, Past(work=20.0, seconds=20.0))
    assert remaining(pasts, CHAIN, set(CHAIN), {}) == "about 60 s left"


def test_independent_stages_take_their_work_over_the_cores() -> None:
    stages = {name: set[str]() for name in "abcd"}
    pasts = dict.fromkeys(stages, Past(work=20.0, seconds=10.0))
    assert remaining(pasts, stages, set(stages), {}) == "about 40 s left"


def test_what_has_been_done_is_taken_off() -> None:
    pasts = dict.fromkeys(CHAIN, Past(work=20.0, seconds=20.0))
    assert remaining(pasts, CHAIN, {"c"}, {"b": 15.0}) == "about 25 s left"
    assert remaining(pasts, CHAIN, {"c"}, {"b": 500.0}) == "about 20 s left"  # longer than last time
    assert remaining(pasts, CHAIN, set(), {}) == "almost done"


def test_minutes_and_stages_that_have_never_run() -> None:
    pasts = {"a": Past(work=200.0, seconds=200.0), "b": None, "c": None}
    assert remaining(pasts, CHAIN, {"a"}, {}) == "about 3 min left"
    assert remaining(pasts, CHAIN, {"a", "b"}, {}) == "at least 3 min left, 1 stage has not run here before"
    assert remaining(pasts, CHAIN, {"b", "c"}, {}) == "2 stages have not run here before"


def test_past_comes_from_the_record_of_the_last_run() -> None:
    assert past("cluster@toy") is None
    write_run("cluster", "toy", 0.0, 99.0, [Usage("main seed 0", 6.0, 1.0), Usage("main seed 1", 4.0, 1.0)])
    assert past("cluster@toy") == Past(work=10.0, seconds=5.0)  # two jobs on two cores, whatever else ran then
    write_run("prepare", "blobs", 0.0, 99.0, [Usage("blobs", 6.0, 1.0)])
    assert past("prepare@blobs") == Past(work=6.0, seconds=6.0)


def seen(view_of, width: int = 100) -> str:
    stream = io.StringIO()
    view = view_of(Console(file=stream, force_terminal=True, width=width, color_system=None))
    with view:
        view.planned({"pretrain@toy": set(), "cluster@toy": {"prepare@blobs", "pretrain@toy"}})
        view.started("pretrain@toy")
        view.line("pretrain@toy", "pretrain@toy main seed 0: 3/10 loss 0.5 after 2 s")
        assert view._live is not None
        view._live.refresh()
        view.settled("pretrain@toy", "ran", 2.5)
        view.settled("cluster@toy", "fresh", 0.0)
    return stream.getvalue()


def test_terminal_shows_what_runs_and_what_may_follow() -> None:
    text = seen(View)
    assert "1 running, 1 may follow, 0 settled; 2 stages have not run here before" in text
    assert "pretrain@toy  0 s  main seed 0: 3/10 loss 0.5 after 2 s" in text
    assert "  ran       pretrain@toy  2.5 s" in text
    assert "cluster@toy  0.0 s" not in text
    assert all(len(line) <= 60 for line in seen(View, width=60).replace("\r", "\n").splitlines() if "\x1b" not in line)


def test_log_gets_lines_and_no_errors_twice() -> None:
    stream = io.StringIO()
    with View(Console(file=stream, width=100)) as view:
        view.planned({"pretrain@toy": set()})
        view.line("pretrain@toy", "pretrain@toy main seed 0: 3/10 loss [0.5]")
        view.line("pretrain@toy", "error: pretrain@toy: no")
        view.settled("pretrain@toy", "failed", 2.5)
    assert stream.getvalue() == "pretrain@toy main seed 0: 3/10 loss [0.5]\n  failed    pretrain@toy  2.5 s\n"
