"""Whatever happens on the way: nothing finished is lost, nothing half-written is taken for finished.

Here on graphs of shell commands, which take milliseconds; in `test_faults_of_runs.py` with the real `unlabeled run`.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import doctor, lockfile

STAGES: dict[str, Any] = {
    "first": {"cmd": "cat source > first", "deps": ["source"], "outs": ["first"]},
    "left": {"cmd": "cat first other > left", "deps": ["first", "other"], "outs": ["left"]},
    "right": {
        "cmd": "mkdir right; cat first > right/a; echo 1 > right/b",
        "deps": ["first"],
        "outs": ["right"],
    },
    "last": {"cmd": "cat left right/a > last", "deps": ["left", "right"], "outs": [{"last": {"cache": False}}]},
    "apart": {"cmd": "cat other > apart", "deps": ["other"], "outs": ["apart"]},
}
OUTPUTS = ("first", "left", "right/*", "last", "apart")


def make(graphs, folder: Path) -> Path:
    """A project in which nothing has run."""
    graphs.create(folder, STAGES)
    (folder / "source").write_text("red\n")
    (folder / "other").write_text("sky\n")
    return folder


@pytest.fixture
def ran(graphs, tmp_path: Path) -> Path:
    """A project in which all has run, and whose source has been edited since: all but `apart` is stale."""
    folder = make(graphs, tmp_path / "project")
    assert set(graphs.repro(folder)["states"].values()) == {"ran"}
    (folder / "source").write_text("green\n")
    return folder


@pytest.fixture
def expected(graphs, ran: Path, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """dvc.lock and outputs after an undisturbed `dvc repro` of `ran`."""
    shutil.copytree(ran, tmp_path / "undisturbed")
    assert graphs.repro(tmp_path / "undisturbed")["errors"] == {}
    return after(graphs, tmp_path / "undisturbed")


def after(graphs, folder: Path) -> tuple[str, dict[str, str]]:
    return (folder / "dvc.lock").read_text(), graphs.contents(folder, *OUTPUTS)


# ---- stages that fail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_stage_that_fails(graphs, ran: Path, expected, end: str) -> None:
    """The others go on, the failed one keeps its former output and entry; mended, only it and what follows runs."""
    before = graphs.lock(ran)
    broken = copy.deepcopy(STAGES)
    broken["left"]["cmd"] = f"echo half > left; {end}"
    graphs.declare(ran, broken)
    answer = graphs.drive(ran)
    assert answer["states"] == {
        "first": "ran", "left": "failed", "right": "ran", "last": "skipped", "apart": "fresh"
    }  # fmt: skip
    assert "left" in answer["errors"]["left"]
    lock = graphs.lock(ran)
    assert {stage for stage in lock if lock[stage] != before[stage]} == {"first", "right"}
    assert graphs.contents(ran, "left", "last") == {"left": "red\nsky\n", "last": "red\nsky\nred\n"}
    again = graphs.drive(ran)
    assert again["states"] == {
        "first": "fresh", "left": "failed", "right": "fresh", "last": "skipped", "apart": "fresh"
    }  # fmt: skip
    graphs.declare(ran, STAGES)
    mended = graphs.drive(ran)
    assert {stage for stage, state in mended["states"].items() if state != "fresh"} == {"left", "last"}
    assert after(graphs, ran) == expected


# ---- the driver is killed -------------------------------------------------------------------------------------


def check_kills(graphs, ran: Path, expected, tmp_path: Path, points: Callable[[int], list[int]], half: bool) -> None:
    """Kill the driver at changes of files chosen among all that an undisturbed run makes; let the next one go on."""
    shutil.copytree(ran, tmp_path / "measured")
    before, final = graphs.lock(ran), graphs.lock(tmp_path / "undisturbed")
    changes = graphs.drive(tmp_path / "measured", jobs=1)["operations"]
    killed = 0
    for at in points(changes):
        folder = tmp_path / f"killed at {at}"
        shutil.copytree(ran, folder)
        killed += graphs.drive(folder, jobs=1, kill=[at, half])["killed"]
        lock = graphs.lock(folder)
        assert all(entry in (before[stage], final[stage]) for stage, entry in lock.items()), f"at change {at}"
        answer = graphs.drive(folder)
        assert answer["errors"] == {}, f"at change {at}"
        again = {stage for stage, entry in lock.items() if entry != before[stage]} - {
            stage for stage, state in answer["states"].items() if state == "fresh"
        }
        assert not again, f"recorded when killed at change {at}, but not taken for finished: {again}"
        assert after(graphs, folder) == expected, f"at change {at}"
        graphs.assert_up_to_date(folder)
        shutil.rmtree(folder)
    assert killed == len(points(changes)) > 0


@pytest.mark.parametrize("half", [False, True])
def test_driver_killed_at_changes_of_files(graphs, ran: Path, expected, tmp_path: Path, half: bool) -> None:
    """Five of them, spread over the run."""
    check_kills(graphs, ran, expected, tmp_path, lambda n: [1 + n * i // 5 for i in range(5)], half)


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_driver_killed_at_every_change_of_a_file(graphs, ran: Path, expected, tmp_path: Path, half: bool) -> None:
    check_kills(graphs, ran, expected, tmp_path, lambda n: list(range(1, n)), half)


def test_commands_end_with_the_driver(graphs, tmp_path: Path, wait_until) -> None:
    """One that went on would write where the next run writes."""
    folder = graphs.create(
        tmp_path / "project", {"slow": {"cmd": "sleep 99; echo > out", "deps": ["in"], "outs": ["out"]}}
    )
    (folder / "in").touch()

    def sleeps() -> list[psutil.Process]:
        return [
            p
            for p in psutil.process_iter(["cmdline", "cwd"])
            if p.info["cwd"] == str(folder) and "sleep" in str(p.info["cmdline"])
        ]

    def kill() -> None:
        wait_until(sleeps, 20, "the command starts")
        driver = next(p for p in psutil.Process(graphs.pid).children())
        driver.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert graphs.drive(folder, outlive=True)["killed"]
        killer.join()
        wait_until(lambda: not sleeps(), 5, "the command ends")
    finally:
        for process in sleeps():
            process.kill()


# ---- disks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def confined(graphs, with_mount) -> Iterator[Callable[[Path, str], Any]]:
    """`confined(folder, mount)`: like `graphs`, but in a process that sees `folder` mounted in its own way."""
    started = []

    def start(folder: Path, mount: str) -> Any:
        started.append(type(graphs)(*with_mount(folder, mount)))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.mark.parametrize("points", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_disk_full(confined, tmp_path: Path, graphs, points: int) -> None:
    """At whichever of the writes it happens: an error says so, and with space again the next run goes on."""
    (tmp_path / "disk").mkdir()
    small = confined(tmp_path / "disk", 'mount -t tmpfs -o size=2m none "$0"')
    disk = Path(f"/proc/{small.pid}/root{tmp_path}/disk")
    wait_for(disk.is_mount, 20)
    stages = copy.deepcopy(STAGES)
    for name in ("first", "apart"):
        stages[name]["cmd"] += f"; head -c 100000 /dev/zero | tr '\\0' {name[0]} >> {name}"

    def start_anew(folder: Path) -> None:
        shutil.rmtree(disk / "project", ignore_errors=True)
        shutil.rmtree(disk / "project-site", ignore_errors=True)
        shutil.copytree(folder, disk / "project")

    origin = make(graphs, tmp_path / "origin")
    graphs.declare(origin, stages)
    shutil.copytree(origin, tmp_path / "undisturbed")
    graphs.repro(tmp_path / "undisturbed")
    expected = after(graphs, tmp_path / "undisturbed")
    inside = tmp_path / "disk" / "project"
    start_anew(origin)
    assert small.drive(inside, jobs=1)["errors"] == {}
    needed = int(disk_use(disk) / 1000)
    failed = 0
    for free in range(4, needed, needed // points):
        start_anew(origin)
        room = os.statvfs(disk)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * max(0, room.f_bavail * room.f_frsize - free * 1000))
        answer = small.drive(inside, jobs=1, crash=True)
        failed += bool(answer["errors"]) or "crash" in answer
        ballast.unlink()
        answer = small.drive(inside)
        assert answer["errors"] == {}, f"with {free} kB"
        assert after(small, disk / "project") == expected, f"with {free} kB"
        small.assert_up_to_date(inside)
    assert failed > points / 2


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)


def disk_use(disk: Path) -> float:
    room = os.statvfs(disk)
    return (room.f_blocks - room.f_bavail) * room.f_frsize


def test_read_only_cache(graphs, confined, ran: Path, expected) -> None:
    locked = confined(ran / ".dvc" / "cache", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"')
    before = after(graphs, ran)
    answer = locked.drive(ran)
    assert answer["states"]["first"] == "failed"
    assert "Read-only file system" in answer["errors"]["first"]
    assert after(graphs, ran) == before
    assert graphs.drive(ran)["errors"] == {}
    assert after(graphs, ran) == expected


# ---- damaged files --------------------------------------------------------------------------------------------


def cache_object(folder: Path, md5: str) -> Path:
    return folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage(path: Path, how: Callable[[Path], object]) -> None:
    """Change a protected file and leave its mode as it was, as a bad disk does."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    how(path)
    path.chmod(mode)


@pytest.mark.parametrize("how", [cut, flip])
@pytest.mark.parametrize("stage", ["first", "left", "right"])
def test_damaged_cache_object_is_not_used(graphs, ran: Path, expected, stage: str, how: Callable) -> None:
    """Neither when an output has been deleted, nor when the run cache has the answer."""
    assert graphs.drive(ran)["errors"] == {}
    (out,) = graphs.lock(ran)[stage]["outs"]
    damage(cache_object(ran, out["md5"]), how)
    if (ran / stage).is_dir():
        shutil.rmtree(ran / stage)
    else:
        (ran / stage).unlink()
    answer = graphs.drive(ran)
    if answer["errors"]:
        assert stage in answer["errors"]
        return
    assert graphs.contents(ran, *OUTPUTS) == expected[1]
    assert after(graphs, ran) == expected
    graphs.assert_up_to_date(ran)


@pytest.mark.parametrize("how", [cut, flip])
def test_damaged_cache_object_is_not_restored_from_the_run_cache(graphs, ran: Path, expected, how: Callable) -> None:
    former = graphs.lock(ran)
    assert graphs.drive(ran)["errors"] == {}
    (ran / "source").write_text("red\n")
    for stage in ("first", "left"):
        damage(cache_object(ran, former[stage]["outs"][0]["md5"]), how)
    assert graphs.drive(ran)["errors"] == {}
    assert graphs.lock(ran) == former
    assert graphs.contents(ran, "first", "left") == {"first": "red\n", "left": "red\nsky\n"}


def test_damaged_run_cache(graphs, ran: Path, expected) -> None:
    """Entries of the run cache that cannot be read are as good as none."""
    former = graphs.lock(ran)
    assert graphs.drive(ran)["errors"] == {}
    (ran / "source").write_text("red\n")
    for path in (ran / ".dvc/cache/runs").rglob("*"):
        if path.is_file():
            damage(path, lambda path: path.write_text("{"))
    answer = graphs.drive(ran)
    assert answer["errors"] == {}
    assert answer["states"] == {**dict.fromkeys(STAGES, "ran"), "apart": "fresh"}
    assert graphs.lock(ran) == former


def check_cuts(graphs, ran: Path, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Either dvc.lock cannot be used, which is said, and nothing is touched; or the run makes it whole again."""
    assert graphs.drive(ran)["errors"] == {}
    final = graphs.lock(tmp_path / "undisturbed")
    monkeypatch.chdir(ran)
    whole = Path("dvc.lock").read_bytes()
    assert lockfile.damage() is None
    refused = 0
    for length in range(0, len(whole), step):
        Path("dvc.lock").write_bytes(whole[:length])
        answer = graphs.drive(ran, crash=True)
        if "crash" in answer:
            refused += 1
            assert "dvc.lock" in str(lockfile.damage()), f"cut at {length}: {answer['crash']}"
            assert Path("dvc.lock").read_bytes() == whole[:length]
        else:
            assert answer["errors"] == {}, f"cut at {length}"
            graphs.assert_up_to_date(ran)
            made_whole = {s: e for s, e in graphs.lock(ran).items() if answer["states"].get(s) in ("ran", "restored")}
            assert made_whole == {stage: final[stage] for stage in made_whole}, f"cut at {length}"
        assert graphs.contents(ran, *OUTPUTS) == expected[1], f"cut at {length}"
    assert 0 < refused < len(range(0, len(whole), step))


def test_lock_file_cut(graphs, ran: Path, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_cuts(graphs, ran, expected, tmp_path, monkeypatch, step=127)


@pytest.mark.slow
def test_lock_file_cut_in_many_places(
    graphs, ran: Path, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_cuts(graphs, ran, expected, tmp_path, monkeypatch, step=7)


# ---- clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", [-3e8, 3e8])
def test_clock_jumps(graphs, ran: Path, expected, clock: float) -> None:
    """Ten years back or ahead between two runs, and files from the other side of the jump."""
    assert graphs.drive(ran, clock=clock)["errors"] == {}
    assert after(graphs, ran) == expected
    graphs.assert_up_to_date(ran)
    for path in (ran / "source", ran / "first", ran / "right" / "a", ran / "dvc.lock", ran / "dvc.yaml"):
        os.utime(path, (time.time() - clock, time.time() - clock))
    assert set(graphs.drive(ran)["states"].values()) == {"fresh"}
    (ran / "source").write_text("white\n")
    os.utime(ran / "source", (time.time() + clock, time.time() + clock))
    assert graphs.drive(ran)["states"] == {**dict.fromkeys(STAGES, "ran"), "apart": "fresh"}
    assert graphs.contents(ran, "last") == {"last": "white\nsky\nwhite\n"}


# ---- two at once, and locks of processes that are no more -----------------------------------------------------


def test_second_driver_is_refused(graphs, ran: Path) -> None:
    assert graphs.drive(ran)["errors"] == {}
    (ran / "source").write_text("red\n")
    before = after(graphs, ran)
    with open(ran / ".unlabeled" / "run.lock", "a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = graphs.drive(ran, crash=True)
    assert "WorkspaceError: another run is going on in" in answer["crash"]
    assert after(graphs, ran) == before
    assert graphs.drive(ran)["errors"] == {}


def test_waits_while_dvc_is_at_work(graphs, ran: Path, expected, wait_until) -> None:
    """DVC holds its lock for moments; what has been computed must not be lost to that."""
    (ran / ".dvc" / "tmp").mkdir(exist_ok=True)
    with open(ran / ".dvc" / "tmp" / "lock", "a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        answers: list[dict] = []
        driver = threading.Thread(target=lambda: answers.append(graphs.drive(ran)))
        driver.start()
        driver.join(1.0)
        assert driver.is_alive()
    driver.join(20)
    assert answers[0]["errors"] == {}
    assert after(graphs, ran) == expected


@pytest.mark.slow
def test_driver_while_dvc_repro_runs_a_stage(graphs, tmp_path: Path, wait_until) -> None:
    """The driver says who is at work, or waits; both end well in the end, and dvc.lock is the serial one."""
    stages = copy.deepcopy(STAGES)
    stages["left"]["cmd"] = "touch started; until test -e go; do sleep 0.05; done; " + stages["left"]["cmd"]
    twin = make(graphs, tmp_path / "twin")
    graphs.declare(twin, stages)
    (twin / "go").touch()
    graphs.repro(twin)
    folder = make(graphs, tmp_path / "project")
    graphs.declare(folder, stages)
    other = type(graphs)()
    answers: list[dict] = []
    dvc = threading.Thread(target=lambda: answers.append(other.repro(folder)))
    dvc.start()
    wait_until((folder / "started").exists, 30, "dvc repro runs its stage")
    refused = graphs.drive(folder, crash=True)
    (folder / "go").touch()
    dvc.join(60)
    other.close()
    assert "WorkspaceError: DVC is at work in" in refused["crash"]
    assert answers[0]["errors"] == {}
    assert set(graphs.drive(folder)["states"].values()) == {"fresh"}
    assert after(graphs, folder) == after(graphs, twin)


def rwlock(folder: Path, text: str) -> None:
    (folder / ".dvc" / "tmp").mkdir(exist_ok=True)
    (folder / ".dvc" / "tmp" / "rwlock").write_text(text)


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("whose", ["dead", "re-used", "half written", "empty"])
def test_locks_of_dead_processes_are_cleared(graphs, ran: Path, expected, whose: str) -> None:
    pid = dead_process() if whose == "dead" else os.getpid()
    info = {"pid": pid, "cmd": "/usr/bin/dvc repro --some-option"}
    text = json.dumps({"write": {str(ran / "first"): info}, "read": {str(ran / "source"): [info]}})
    rwlock(ran, {"half written": text[: len(text) // 2], "empty": ""}.get(whose, text))
    assert graphs.drive(ran)["errors"] == {}
    assert after(graphs, ran) == expected
    graphs.assert_up_to_date(ran)


def test_doctor_names_what_dead_processes_left(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    assert doctor._locks() == "free"
    assert doctor._lock_file() == "sound"
    info = {"pid": dead_process(), "cmd": "dvc repro"}
    rwlock(ran, json.dumps({"write": {str(ran / "first"): info}, "read": {}}))
    with pytest.raises(doctor.Problem, match=r"left behind by process \d+ \(dvc repro\): the next 'unlabeled run'"):
        doctor._locks()
    rwlock(ran, "{")
    with pytest.raises(doctor.Problem, match="rwlock is damaged"):
        doctor._locks()
    Path("dvc.lock").write_text("schema")
    with pytest.raises(doctor.Problem, match=r"dvc.lock: .*take it back with 'git checkout dvc.lock'"):
        doctor._lock_file()


def test_half_made_run_cache_is_cleared(graphs, ran: Path, expected) -> None:
    """DVC makes a folder, then the entry; an empty folder would end every later run with a TypeError."""
    assert graphs.drive(ran)["errors"] == {}
    keys = [path for path in (ran / ".dvc/cache/runs").glob("??/*") if path.is_dir()]
    for key in keys:
        for entry in key.iterdir():
            entry.rename(key / ".half.tmp")
    (ran / "source").write_text("red\n")
    answer = graphs.drive(ran)
    assert answer["errors"] == {}
    assert answer["states"] == {**dict.fromkeys(STAGES, "ran"), "apart": "fresh"}
    assert not list((ran / ".dvc/cache/runs").rglob("*.tmp"))
