"""Our ranking of columns beside the authors' package on the same CSV file: `python tests/benchmarks/outrank.py --peer PYTHON`.

PYTHON is the interpreter of an environment of its own that holds the package:

    python -m venv /tmp/outrank && /tmp/outrank/bin/pip install outrank==0.97.5 xxhash==3.5.0

Without it the peer is skipped, and the table says so. Both read the file, score every column against the label on one core and
write the ranking; a whole process is measured from start to end, imports included. The package waits for its workers in steps of 4 s,
so the seconds that it notes for coding and scoring are given too, beside those of our step. Scores are compared with ours of
`noise: shift`, the package's own rule; the table also tells what each ranking finds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.pop(0)  # this folder, whose files are called like packages
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tasks.artifacts import Dataset
from tasks.prepare.sparse_clicks import sparse_clicks

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def write(dataset: Dataset, folder: Path) -> Path:
    """The train rows as `data.csv`, the label last, as both tools read it."""
    folder.mkdir(parents=True)
    rows = dataset.rows("train")
    columns = np.column_stack([dataset.arrays["codes"][rows], dataset.labels("given_label", rows)])
    with open(folder / "data.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*dataset.meta["code_names"], "label"])
        writer.writerows(columns.tolist())
    return folder


def run(command: list[str], folder: Path) -> float:
    """Wall seconds of a process that must succeed."""
    started = time.perf_counter()
    result = subprocess.run(
        command, cwd=folder, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return time.perf_counter() - started


def package(python: str, folder: Path) -> tuple[dict[str, float], float, float]:
    """Scores by column, wall seconds, seconds of coding and scoring."""
    out = folder / "out"
    options = {
        "task": "ranking", "data_path": folder, "data_source": "csv-raw", "heuristic": "MI-numba-randomized", "subsampling": 1,
        "num_threads": 1, "output_folder": out, "include_cardinality_in_feature_names": "False", "disable_tqdm": "True",
    }  # fmt: skip
    command = [python, "-m", "outrank", *(f"--{name}={value}" for name, value in options.items())]
    run(command, folder)  # once for numba, whose compiled code is kept
    wall = run(command, folder)
    with open(out / "pairwise_ranks.tsv", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    scores = {row["FeatureA"]: float(row["Score"]) for row in rows if row["FeatureB"] == "label" != row["FeatureA"]}
    timings = json.loads((out / "timings.json").read_text())
    return scores, wall, sum(sum(column.values()) for column in timings.values())


def ours(folder: Path, noise: str) -> tuple[dict[str, float], float, float]:
    """Scores by column, wall seconds, seconds of the step."""
    wall = run([sys.executable, str(Path(__file__).resolve()), "--score", noise], folder)
    found = json.loads((folder / "ours.json").read_text())
    return found["scores"], wall, found["seconds"]


def score(noise: str) -> None:
    """What our process does: read the file here, rank, write."""
    from tasks.prepare.table import table
    from tasks.pretrain.feature_scores import feature_scores

    dataset = table(path="data.csv", label="label", categorical="all", grant="train").without_truth()
    started = time.perf_counter()
    made = feature_scores(dataset, noise=noise, pairwise=0, seed=0)
    seconds = time.perf_counter() - started
    scores = dict(
        zip(
            made.tables["features"]["name"].tolist(), made.arrays["embedding"][:, 0].astype(float).tolist(), strict=True
        )
    )
    Path("ours.json").write_text(json.dumps({"scores": scores, "seconds": seconds}))


def compare(n: int, repeats: int, peer: str | None) -> None:
    """A row of the table for each tool; scores of `repeats` replicates, medians of the seconds."""
    from scipy.stats import spearmanr

    found: dict[str, list[tuple[float, float, float, float, float]]] = {}
    for seed in range(repeats):
        dataset = sparse_clicks(n=n, replicates=1, seed=seed)
        names = dataset.meta["code_names"]
        truth = dict(zip(names, dataset.arrays["informative"].tolist(), strict=True))
        with tempfile.TemporaryDirectory(prefix="outrank-") as temporary:
            folder = write(dataset, Path(temporary) / "log")
            results = {f"unlabeled, {noise}": ours(folder, noise) for noise in ("shift", "permutation")}
            if peer is not None:
                results = {"outrank": package(peer, folder)} | results
        reference = np.array([results["unlabeled, shift"][0][name] for name in names])
        for tool, (scores, wall, seconds) in results.items():
            values = np.array([scores[name] for name in names])
            top = sorted(names, key=lambda name: -scores[name])[:8]
            same, rank = np.abs(values - reference).max(), spearmanr(values, reference).statistic
            found.setdefault(tool, []).append((wall, seconds, np.mean([truth[name] for name in top]), rank, same))
    for tool, rows in found.items():
        wall, seconds = np.median(rows, axis=0)[:2]
        precision, rank, same = np.mean(rows, axis=0)[2:]
        print(
            f"| {dataset.samples['split'].eq('train').sum():,} | {tool} | {wall:.1f} s | {seconds:.2f} s "
            f"| {precision:.2f} | {rank:.3f} | {same:.1e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", help="Python interpreter of the environment that holds the package outrank")
    parser.add_argument("--score", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.score:
        return score(given.score)
    if given.peer is None:
        print("skipped: the package outrank; give --peer PYTHON (its environment: see --help)")
    elif subprocess.run([given.peer, "-c", "import outrank"], capture_output=True, check=False).returncode:
        raise SystemExit(
            f"--peer {given.peer}: cannot import outrank; {given.peer} -m pip install outrank==0.97.5 xxhash==3.5.0"
        )
    print(
        "| rows | tool | process | scoring | precision at 8 | rank correlation with shift | largest difference to shift |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for n in given.sizes:
        compare(n, given.repeats, given.peer)


if __name__ == "__main__":
    main()
