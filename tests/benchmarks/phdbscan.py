"""Time, memory and agreement of the step `phdbscan` beside other implementations of HDBSCAN, on the same blobs.

    python3.11 -m venv peers
    peers/bin/pip install hdbscan==0.8.44 fast_hdbscan==0.3.4 pynndescent==0.7.0
    python tests/benchmarks/phdbscan.py --n 5000 20000 --d 16 32 --peers-python peers/bin/python --out DIRECTORY
    python tests/benchmarks/phdbscan.py --draw --out DIRECTORY

hdbscan and fast_hdbscan need numba, which this project does not: they have an environment of their own. Each run is a
process of its own, so that its peak memory is its own. Times are wall clock without imports and without numba's
compilation (a smaller call with as many dimensions comes first); the faster of two runs below 20 s. Processor seconds (of all
threads) are in results.csv too: on a machine that others use they say more.

Measure in as many turns as you like: DIRECTORY/results.csv is added to, what is there is not measured again. A peer that
cannot be run, or that took longer than `--limit` seconds at a smaller size, is said to be left out, in the table too. The
exact labels are kept beside it for the adjusted Rand index with exact HDBSCAN, else that with the blobs stands alone.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MIN_CLUSTER_SIZE, MIN_SAMPLES, NEIGHBOURS = 50, 10, 16
EXACT = ("sklearn", "hdbscan")
IN_PEERS = ("hdbscan", "fast_hdbscan", "fast_hdbscan_kruskal")
PEERS = ("phdbscan", "sklearn", *IN_PEERS)
CENTRES = 50


def blobs(n: int, d: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """50 Gaussian blobs of unit spread in a cube of side 20, uniform noise over the cube, and the labels (noise -1)."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-10, 10, (CENTRES, d))
    label = rng.integers(CENTRES, size=n)
    x = centres[label] + rng.standard_normal((n, d))
    scattered = rng.permutation(n)[: round(noise * n)]
    x[scattered], label[scattered] = rng.uniform(-10, 10, (len(scattered), d)), -1
    return x.astype(np.float32), label


def cluster(peer: str, x: np.ndarray) -> np.ndarray:
    """Labels int64 [n]. `min_samples` leaves the point itself out everywhere."""
    if peer == "phdbscan":
        import pandas as pd

        from tasks.artifacts import Representation
        from tasks.cluster.phdbscan import phdbscan

        unit = np.arange(len(x))
        representation = Representation({"units": pd.DataFrame({"unit": unit, "sample": unit})}, {"embedding": x})
        result = phdbscan(
            representation, min_cluster_size=MIN_CLUSTER_SIZE, min_samples=MIN_SAMPLES, n_neighbors=NEIGHBOURS
        )
        print(json.dumps({k: result.meta[k] for k in ("index", "recall", "pieces", "rounds")}), file=sys.stderr)
        return result.tables["units"]["cluster"].to_numpy()
    if peer == "sklearn":
        from sklearn.cluster import HDBSCAN

        fit = HDBSCAN(min_cluster_size=MIN_CLUSTER_SIZE, min_samples=MIN_SAMPLES + 1, n_jobs=-1, copy=True)
        return fit.fit_predict(x)
    options = {"algorithm": "kruskal", "knn_k": NEIGHBOURS} if peer == "fast_hdbscan_kruskal" else {}
    if peer == "hdbscan":
        options = {"core_dist_n_jobs": -1}
    module = importlib.import_module(peer.removesuffix("_kruskal"))
    model = module.HDBSCAN(min_cluster_size=MIN_CLUSTER_SIZE, min_samples=MIN_SAMPLES, **options)
    return np.asarray(model.fit_predict(x))


def run(peer: str, n: int, d: int, noise: float, labels: Path) -> None:
    """One measurement, in this process."""
    x, _ = blobs(n, d, noise)
    cluster(peer, blobs(3000, d, noise)[0])
    times = []
    while len(times) == 0 or (len(times) < 2 and times[0][0] < 20):
        start, start_cpu = time.perf_counter(), processor_seconds()
        found = cluster(peer, x)
        times.append((time.perf_counter() - start, processor_seconds() - start_cpu))
    seconds, cpu_seconds = min(times)
    np.save(labels, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3), "peak_gib": peak, "clusters": int(found.max()) + 1,
                      "noise_share": float((found < 0).mean())}))  # fmt: skip


def processor_seconds() -> float:
    """Of this process and its finished children, all threads together."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(arguments: argparse.Namespace) -> None:
    """What is not yet in results.csv, size by size."""
    from sklearn.metrics import adjusted_rand_score

    file = arguments.out / "results.csv"
    rows = read(file)
    for n in sorted(arguments.n):
        for d in arguments.d:
            truth = blobs(n, d, arguments.noise)[1]
            for peer in [p for p in PEERS if p in arguments.peers]:
                past = [r for r in rows if (r["peer"], r["d"]) == (peer, d)]
                if any(r["n"] == n or (r["n"] < n and r["outcome"] != "measured") for r in past):
                    continue
                path = arguments.out / f"labels-{peer}-{n}-{d}.npy"
                row = {"peer": peer, "n": n, "d": d, **one(arguments, peer, n, d, path)}
                if row["outcome"] == "measured":
                    found = np.load(path)
                    row["ari_blobs"] = adjusted_rand_score(truth, found)
                rows.append(row)
                write(file, rows)
                print(json.dumps(row), flush=True)
    for r in rows:
        exact = [arguments.out / f"labels-{p}-{r['n']}-{r['d']}.npy" for p in EXACT]
        exact = [path for path in exact if path.is_file()]
        path = arguments.out / f"labels-{r['peer']}-{r['n']}-{r['d']}.npy"
        if exact and path.is_file():
            r["ari_exact"] = adjusted_rand_score(np.load(exact[0]), np.load(path))
    write(file, rows)


def one(arguments: argparse.Namespace, peer: str, n: int, d: int, labels: Path) -> dict:
    """A process that measures one peer at one size."""
    python = arguments.peers_python if peer in IN_PEERS else sys.executable
    if python is None:
        return {"outcome": "not installed (--peers-python)"}
    command = [str(python), __file__, "--one", peer, "--n", str(n), "--d", str(d)]
    command += ["--noise", str(arguments.noise), "--out", str(labels)]
    # All cores for everyone, and no instruction set forbidden to anyone.
    own = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "FAISS_OPT_LEVEL")
    environment = {k: v for k, v in os.environ.items() if k not in own}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=arguments.limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {"outcome": f"over {arguments.limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1] if error.stderr.strip() else f"signal {-error.returncode}"
        return {"outcome": f"failed: {last[:80]}"}
    if peer == "phdbscan":
        print(done.stderr.strip().splitlines()[-1])
    return {"outcome": "measured", **json.loads(done.stdout.strip().splitlines()[-1])}


def read(file: Path) -> list[dict]:
    import pandas as pd

    return pd.read_csv(file).to_dict("records") if file.is_file() else []


def write(file: Path, rows: list[dict]) -> None:
    import pandas as pd

    pd.DataFrame(rows).to_csv(file, index=False)


def draw(out: Path) -> None:
    """The table in Markdown, growth exponents, and phdbscan.png."""
    import pandas as pd

    from tasks.figures import COLOURS, png, subplots

    table = pd.DataFrame(read(out / "results.csv")).sort_values(["d", "n"], kind="stable")
    print(f"| points x dimensions | {' | '.join(PEERS)} |\n|---|{'---|' * len(PEERS)}")
    for (d, n), rows in table.groupby(["d", "n"]):
        cells = [cell(rows[rows["peer"] == peer]) for peer in PEERS]
        print(f"| {n:,} x {d} | {' | '.join(cells)} |")
    done = table[table["outcome"] == "measured"]
    dimensions = sorted(done["d"].unique())
    figure, axes = subplots(2, len(dimensions), figsize=(3.4 * len(dimensions), 5.6), squeeze=False, sharex=True)
    for (peer, d), rows in done.groupby(["peer", "d"]):
        for ax, column in zip(axes[:, dimensions.index(d)], ("seconds", "peak_gib"), strict=True):
            ax.plot(rows["n"], rows[column], marker="o", ms=4, label=peer, color=COLOURS[PEERS.index(str(peer))])
        if len(rows) > 1:
            large = rows[rows["n"] >= 20_000]
            slopes = [np.polyfit(np.log(r["n"]), np.log(r["seconds"]), 1)[0] for r in (rows, large) if len(r) > 1]
            print(f"{peer}, {d} dimensions: time grows as n^{slopes[0]:.2f}; from 20,000 points as n^{slopes[-1]:.2f}")
    for column, d in enumerate(dimensions):
        axes[0, column].set(title=f"{d} dimensions", xscale="log", yscale="log")
        axes[1, column].set(xlabel="points", xscale="log", yscale="log")
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory (GiB)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(PEERS))
    (out / "phdbscan.png").write_bytes(png(figure))


def cell(rows) -> str:
    """Seconds, memory, and the adjusted Rand index with exact HDBSCAN and with the blobs; or why there is none."""
    if len(rows) == 0:
        return "left out"
    row = rows.iloc[0]
    if row["outcome"] != "measured":
        return str(row["outcome"])
    exact = row.get("ari_exact", np.nan)
    agreement = f"{exact:.3f}" if np.isfinite(exact) else "-"
    return f"{row['seconds']:.1f} s, {row['peak_gib']:.1f} GiB, {agreement} / {row['ari_blobs']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--d", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--noise", type=float, default=0.05, help="share of uniform noise")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--peers-python", type=Path, help="interpreter with hdbscan and fast_hdbscan")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one run")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".unlabeled" / "benchmarks" / "phdbscan")
    parser.add_argument("--draw", action="store_true", help="only the table and the figure of what was measured")
    parser.add_argument("--one", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path[0] = str(REPOSITORY)  # not this file's folder, in which a module is called like the step
    if arguments.one:
        run(arguments.one, arguments.n[0], arguments.d[0], arguments.noise, arguments.out)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.draw:
        measure(arguments)
    draw(arguments.out)


if __name__ == "__main__":
    main()
