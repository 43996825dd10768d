"""Time, memory and agreement of the step `phdbscan` beside other implementations of HDBSCAN, on the same blobs in one run.

    python tests/benchmarks/phdbscan.py --n 5000 20000 --d 16 32 --out DIRECTORY

Each run is a process of its own, so that its peak memory is its own; times are wall clock, without imports and without
numba's compilation (a call on 500 points comes first). A peer that is not installed is skipped with a message, one that
takes longer than `--limit` seconds is not asked for more points. DIRECTORY gets results.csv and scaling.png.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MIN_CLUSTER_SIZE, MIN_SAMPLES, NEIGHBOURS = 50, 10, 16
NEEDS = {"phdbscan": "faiss", "sklearn": "sklearn", "hdbscan": "hdbscan", "fast_hdbscan": "fast_hdbscan",
         "fast_hdbscan_kruskal": "fast_hdbscan", "cuml": "cuml"}  # fmt: skip
EXACT = ("hdbscan", "sklearn")


def blobs(n: int, d: int, noise: float, seed: int = 0) -> np.ndarray:
    """50 Gaussian blobs of unit spread in a cube of side 20, and uniform noise over the cube."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-10, 10, (50, d))
    x = centres[rng.integers(50, size=n)] + rng.standard_normal((n, d))
    x[: round(noise * n)] = rng.uniform(-10, 10, (round(noise * n), d))
    return x.astype(np.float32)


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
        return result.tables["units"]["cluster"].to_numpy()
    if peer == "sklearn":
        from sklearn.cluster import HDBSCAN

        return HDBSCAN(min_cluster_size=MIN_CLUSTER_SIZE, min_samples=MIN_SAMPLES + 1, copy=True).fit_predict(x)
    module = importlib.import_module(NEEDS[peer])
    options = {"algorithm": "kruskal", "knn_k": NEIGHBOURS} if peer == "fast_hdbscan_kruskal" else {}
    model = module.HDBSCAN(min_cluster_size=MIN_CLUSTER_SIZE, min_samples=MIN_SAMPLES, **options)
    return np.asarray(model.fit_predict(x))


def run(peer: str, n: int, d: int, noise: float, labels: Path) -> None:
    """One measurement, in this process."""
    x = blobs(n, d, noise)
    cluster(peer, blobs(500, d, noise))
    start = time.perf_counter()
    found = cluster(peer, x)
    seconds = time.perf_counter() - start
    np.save(labels, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak_gib": peak, "clusters": int(found.max()) + 1,
                      "noise_share": float((found < 0).mean())}))  # fmt: skip


def measure(arguments: argparse.Namespace) -> list[dict]:
    """All peers on all sizes, with the agreement with exact HDBSCAN where that was run."""
    from sklearn.metrics import adjusted_rand_score

    results, too_slow = [], set()
    for d in arguments.d:
        for n in sorted(arguments.n):
            reference = None
            for peer in [p for p in (*EXACT, *arguments.peers) if p in arguments.peers and (p, d) not in too_slow]:
                if any(r["peer"] == peer and (r["n"], r["d"]) == (n, d) for r in results):
                    continue
                path = arguments.out / f"labels-{peer}-{n}-{d}.npy"
                command = [sys.executable, __file__, "--one", peer, "--n", str(n), "--d", str(d)]
                command += ["--noise", str(arguments.noise), "--out", str(path)]
                try:
                    done = subprocess.run(
                        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=arguments.limit, check=True
                    )
                except subprocess.TimeoutExpired:
                    print(f"{peer}: over {arguments.limit} s at {n} x {d}; not asked for more")
                    too_slow.add((peer, d))
                    continue
                except subprocess.CalledProcessError as error:
                    print(f"{peer}: failed at {n} x {d}: {error.stderr.strip().splitlines()[-1]}")
                    too_slow.add((peer, d))
                    continue
                row = {"peer": peer, "n": n, "d": d, **json.loads(done.stdout.strip().splitlines()[-1])}
                found = np.load(path)
                path.unlink()
                if reference is None and peer in EXACT:
                    reference = found
                row["agreement"] = float("nan") if reference is None else float(adjusted_rand_score(reference, found))
                results.append(row)
                print("{peer:22} {n:>9,} x {d:<3} {seconds:8.2f} s {peak_gib:6.2f} GiB  ARI to exact {agreement:.3f}  "
                      "{clusters} clusters, {noise_share:.2f} noise".format(**row), flush=True)  # fmt: skip
    return results


def summarise(results: list[dict], out: Path) -> None:
    """results.csv, scaling.png, and growth exponents between the smallest and the largest size of each peer."""
    import pandas as pd

    from tasks.figures import png, subplots

    table = pd.DataFrame(results)
    table.to_csv(out / "results.csv", index=False)
    figure, axes = subplots(1, 2, figsize=(9, 4))
    for (peer, d), rows in table.groupby(["peer", "d"], sort=False):
        rows = rows.sort_values("n")
        for ax, column in zip(axes, ("seconds", "peak_gib"), strict=True):
            ax.plot(rows["n"], rows[column], marker="o", label=f"{peer}, {d} dimensions")
        if len(rows) > 1:
            first, last = rows.iloc[0], rows.iloc[-1]
            growth = np.log(last["seconds"] / first["seconds"]) / np.log(last["n"] / first["n"])
            print(f"{peer}, {d} dimensions: time grows as n^{growth:.2f}")
    for ax, name in zip(axes, ("seconds", "peak memory (GiB)"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="points", ylabel=name)
    axes[0].legend()
    (out / "scaling.png").write_bytes(png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--d", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--noise", type=float, default=0.05, help="share of uniform noise")
    parser.add_argument("--peers", nargs="+", default=list(NEEDS), choices=list(NEEDS))
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for one run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(NEEDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    if arguments.one:
        run(arguments.one, arguments.n[0], arguments.d[0], arguments.noise, arguments.out)
        return
    for peer in [p for p in arguments.peers if importlib.util.find_spec(NEEDS[p]) is None]:
        print(f"{peer}: skipped, {NEEDS[peer]} is not installed")
        arguments.peers.remove(peer)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = measure(arguments)
    if results:
        summarise(results, arguments.out)


if __name__ == "__main__":
    main()
