"""What our driver costs beside `dvc repro`: `python tests/benchmarks/driver.py`, or `make bench`.

Measured side by side in one run, medians of `--repeats`:

- trivial: N stages that copy a file, in chains of five, from nothing: seconds per stage beyond the start;
- no-op: the same graph with nothing to do, as a process from start to end;
- sleeping: stages that only sleep, eight at a time, against the best any schedule could do;
- flagships (`--flagships`, a quarter of an hour): three methods of this repository from an empty cache.

After every pair dvc.lock must be the same to the byte, `dvc status` clean, and `dvc repro --dry` without a plan.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGSHIPS = ("u2seg", "mlcd", "sbcl")
CHAIN = 5
SLEEPERS_AT_A_TIME = 8


# ---- graphs ---------------------------------------------------------------------------------------------------


@contextmanager
def graph(stages: dict[str, tuple[str, list[str]]]) -> Iterator[Path]:
    """A repository with a dvc.yaml of `{output: (command, dependencies)}`."""
    with tempfile.TemporaryDirectory(prefix="driver-") as temporary:
        folder = Path(temporary)
        (folder / "out").mkdir()
        (folder / "source").write_text("0\n")
        (folder / ".gitignore").write_text("/out/\n/.unlabeled/\n")
        (folder / "params.yaml").write_text("datasets: {}\nmethods: {}\n")
        lines = ["stages:"]
        for name, (command, needs) in stages.items():
            lines += [f"  {name}:", f"    cmd: {command}", f"    deps: [{', '.join(needs)}]", f"    outs: [out/{name}]"]
        (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
        run(folder, "git", "init", "--quiet")
        run(folder, sys.executable, "-m", "dvc", "init", "--quiet")
        yield folder


def copies(number: int) -> dict[str, tuple[str, list[str]]]:
    """`number` stages that copy a file, in chains of five."""
    stages = {}
    for i in range(number):
        source = "source" if i % CHAIN == 0 else f"out/s{i - 1}"
        stages[f"s{i}"] = f"cp {source} out/s{i}", [source]
    return stages


def sleepers(chains: int, seed: int = 0) -> tuple[dict[str, tuple[str, list[str]]], float]:
    """Chains of stages that sleep 1 to 3 s; and the least that eight at a time can take, in seconds."""
    rng = random.Random(seed)
    seconds = [rng.uniform(1, 3) for _ in range(chains * CHAIN)]
    stages = {}
    for i, duration in enumerate(seconds):
        source = "source" if i % CHAIN == 0 else f"out/s{i - 1}"
        stages[f"s{i}"] = f"sleep {duration:.3f} && cp {source} out/s{i}", [source]
    longest = max(sum(seconds[i : i + CHAIN]) for i in range(0, len(seconds), CHAIN))
    return stages, max(longest, sum(seconds) / SLEEPERS_AT_A_TIME)


def empty(folder: Path) -> None:
    """As if nothing had ever run."""
    for path in (folder / "out", folder / ".dvc" / "cache", folder / ".dvc" / "tmp"):
        shutil.rmtree(path, ignore_errors=True)
    (folder / "out").mkdir()
    (folder / "dvc.lock").unlink(missing_ok=True)


# ---- what is measured -----------------------------------------------------------------------------------------


def run(folder: Path, *command: str) -> tuple[float, str]:
    """Seconds and standard output of a command that must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "DVC_NO_ANALYTICS": "1", "PATH": path}
    started = time.perf_counter()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {folder}:\n{result.stdout}{result.stderr}")
    return seconds, result.stdout


def ours(folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds of the whole process, and of the schedule alone: Prefect's server has started, the graph is read."""
    whole, said = run(folder, sys.executable, str(Path(__file__).resolve()), "--drive", str(jobs))
    return whole, json.loads(said.splitlines()[-1])


def assert_same(folder: Path, lock: bytes) -> None:
    if (folder / "dvc.lock").read_bytes() != lock:
        raise SystemExit("dvc.lock differs between the drivers")
    assert_clean(folder)


def assert_clean(folder: Path, targets: Sequence[str] = ()) -> None:
    """Raise unless DVC finds nothing to do for `targets` and all they need; for the whole graph without any."""
    upstream = ["--with-deps", *targets] if targets else []
    status = run(folder, sys.executable, "-m", "dvc", "status", *upstream)[1].strip()
    plan = run(folder, sys.executable, "-m", "dvc", "repro", "--dry", *targets)[1]
    if status != "Data and pipelines are up to date." or "Running stage" in plan:
        raise SystemExit(f"not up to date afterwards: {status}\n{plan}")


def trivial(number: int, repeats: int) -> dict[str, float]:
    """Medians in seconds: whole cold runs, per stage beyond the start, and no-ops."""
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    with graph(copies(number)) as folder:
        for _ in range(repeats):
            empty(folder)
            cold, _ = run(folder, sys.executable, "-m", "dvc", "repro")
            noop, _ = run(folder, sys.executable, "-m", "dvc", "repro")
            note("dvc cold", cold)
            note("dvc no-op", noop)
            note("dvc per stage", (cold - noop) / number)
            lock = (folder / "dvc.lock").read_bytes()
            empty(folder)
            whole, schedule = ours(folder, len(os.sched_getaffinity(0)))
            note("ours cold", whole)
            note("ours per stage", schedule / number)
            note("ours no-op", run(folder, sys.executable, str(Path(__file__).resolve()), "--noop")[0])
            assert_same(folder, lock)
    return {name: statistics.median(values) for name, values in found.items()}


def sleeping(repeats: int) -> dict[str, float]:
    """Seconds of the schedule of 80 sleeping stages, and the least that is possible."""
    stages, ideal = sleepers(chains=16)
    with graph(stages) as folder:
        walls = []
        for _ in range(repeats):
            empty(folder)
            walls.append(ours(folder, SLEEPERS_AT_A_TIME)[1])
        assert_clean(folder)
    return {"ideal": ideal, "ours": statistics.median(walls), "ratio": statistics.median(walls) / ideal}


def flagships(repro_too: bool) -> dict[str, float]:
    """Seconds of `unlabeled run` and of `dvc repro` in clones without cache, beside the pure time of the steps."""
    targets = [f"evaluate@{method}" for method in FLAGSHIPS]
    found = {}
    cores = len(os.sched_getaffinity(0))
    commands = (("ours", ["unlabeled", "run", *FLAGSHIPS]), ("dvc", ["dvc", "repro", *targets]))
    with tempfile.TemporaryDirectory(prefix="driver-") as temporary:
        for name, command in commands[: 1 + repro_too]:
            folder = Path(temporary) / name
            run(Path(temporary), "git", "clone", "--quiet", str(REPOSITORY), str(folder))
            before = (folder / "dvc.lock").read_bytes()
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "PATH": path}, check=True)
            found[f"{name} wall"] = time.perf_counter() - started
            records = [json.loads(p.read_text()) for p in (folder / ".unlabeled" / "runs").glob("*.json")]
            found[f"{name} steps"] = sum(record["step_seconds"] for record in records)
            if (folder / "dvc.lock").read_bytes() != before:
                print("note: dvc.lock is not the committed one", file=sys.stderr)
            assert_clean(folder, targets)
    found["limit"] = 1.15 * found["ours steps"] / cores + 15
    return found


# ---- the measured processes -----------------------------------------------------------------------------------


def drive(jobs: int) -> None:
    """Bring the graph here up to date as `unlabeled run` does; print the seconds of the schedule."""
    from flows.execute import set_up_prefect

    set_up_prefect(quiet=True)
    from prefect import flow

    from flows.pipeline import Schedule, end_of_run
    from flows.server import start_temporary_server
    from flows.versioning import Graph

    @flow(name="trivial stages", persist_result=False)
    def schedule() -> float:
        with Graph() as opened:
            started = time.perf_counter()
            outcome = Schedule(opened, opened.stages(None) or [], lambda stage: None).run(jobs)
            if outcome.failed or set(outcome.states.values()) != {"ran"}:
                raise SystemExit(f"not all ran: {outcome}")
            return time.perf_counter() - started

    start_temporary_server()
    seconds = schedule()
    end_of_run()
    print(json.dumps(seconds))


def noop() -> None:
    """`unlabeled run --all` with nothing to do, from the first import on."""
    from flows import cli, execute

    if execute.execute(None, [], None, False, False, False, cli.out, cli.err):
        raise SystemExit("there is something to do")


# ---- report ---------------------------------------------------------------------------------------------------


def draw(rows: dict[int, dict[str, float]], path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure, (cost, ready) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for who, label, colour in (("dvc", "dvc repro", "#c44e52"), ("ours", "unlabeled run", "#4c72b0")):
        cost.loglog(
            list(rows), [row[f"{who} per stage"] * 1000 for row in rows.values()], "o-", color=colour, label=label
        )
        ready.loglog(list(rows), [row[f"{who} no-op"] for row in rows.values()], "o-", color=colour, label=label)
    cost.set(xlabel="trivial stages in the graph", ylabel="overhead per stage, ms", title="From nothing")
    ready.set(xlabel="trivial stages in the graph", ylabel="whole command, s", title="Nothing to do")
    for axes in (cost, ready):
        axes.set_xticks(list(rows), [str(n) for n in rows])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 50, 250])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--figure", type=Path, default=REPOSITORY / "docs" / "images" / "driver.png")
    parser.add_argument("--no-sleeping", action="store_true")
    parser.add_argument("--flagships", choices=["ours", "both"])
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--noop", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        return drive(given.drive)
    if given.noop:
        return noop()
    rows = {}
    if given.sizes:
        print("| stages | dvc cold | ours cold | dvc per stage | ours per stage | ratio | dvc no-op | ours no-op |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    for number in given.sizes:
        rows[number] = row = trivial(number, given.repeats)
        ratio = row["dvc per stage"] / row["ours per stage"]
        print(
            f"| {number} | {row['dvc cold']:.1f} s | {row['ours cold']:.1f} s | {row['dvc per stage'] * 1000:.0f} ms "
            f"| {row['ours per stage'] * 1000:.0f} ms | {ratio:.1f} | {row['dvc no-op']:.1f} s | {row['ours no-op']:.1f} s |",
            flush=True,
        )
    if rows:
        draw(rows, given.figure)
    if not given.no_sleeping:
        slept = sleeping(given.repeats)
        print(
            f"sleeping, 8 at a time: {slept['ours']:.1f} s, at best {slept['ideal']:.1f} s, ratio {slept['ratio']:.3f}"
        )
    if given.flagships:
        for name, seconds in flagships(given.flagships == "both").items():
            print(f"flagships, {name}: {seconds:.0f} s")


if __name__ == "__main__":
    main()
