"""Work of local clustering against the size of the graph: `python tests/benchmarks/local_graph_clustering.py --out FOLDER`.

Block models of blocks of 100 vertices, inside degree 20, outside degree 20 whatever the size, so that a target and
its surroundings look the same in every graph. Per size the mean over seed vertices of touched vertices, of
adjacency entries read (the numbers do not depend on the machine) and of seconds; a table, and a log-log figure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tasks.figures import png, subplots
from tasks.graphs.adjacency import graph_of
from tasks.graphs.edge_weights import label_weights, plain_weights
from tasks.graphs.flow_diffusion import DiffusionSettings, diffuse
from tasks.graphs.pagerank import pagerank_cluster
from tasks.prepare.local_sbm import local_sbm

SETTINGS = DiffusionSettings("one", [2.0, 2.5, 3.0, 3.5, 4.0], 1e-3, 100, "support", "error")
METHODS = ("flow diffusion", "LFD, labels right in 80 %", "PageRank, rho = 1e-4")


def measure(n: int, seeds: int) -> dict[str, np.ndarray]:
    """Per method the means of touched vertices, edges read and seconds on a graph of `n` vertices."""
    dataset = local_sbm(n=n, cluster_size=100, p=0.2, q=20 / (n - 100), labelled_per_class=1, attribute_dim=1)
    graph, block = graph_of(dataset), dataset.samples["label"].to_numpy(dtype=np.int64)
    rng, work = np.random.default_rng(n), {name: [] for name in METHODS}
    for vertex in rng.integers(n, size=seeds).tolist():
        labels = ((block == block[vertex]) ^ (rng.random(n) < 0.2)).astype(np.uint8)
        for name in METHODS:
            started = time.perf_counter()
            weigh = label_weights(graph, labels, 0.05, vertex) if name.startswith("LFD") else plain_weights(graph)
            if name.startswith("PageRank"):
                found = pagerank_cluster(graph, vertex, weigh, teleport=0.15, rho=1e-4)
            else:
                found = diffuse(graph, vertex, 100.0, SETTINGS, weigh, np.random.default_rng(0))
            work[name].append((found.touched, found.edges_read, time.perf_counter() - started))
    return {name: np.mean(rows, axis=0) for name, rows in work.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results = {}
    for n in arguments.sizes:
        results[n] = measure(n, arguments.seeds)
        for name, (touched, edges, seconds) in results[n].items():
            print(f"n {n:>9,}  {name:26}  touched {touched:9,.0f}  edges {edges:9,.0f}  {seconds:.3f} s", flush=True)
    figure, axes = subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for column, (axis, title) in enumerate(zip(axes, ("vertices touched", "edges read"), strict=True)):
        for name in METHODS:
            axis.plot(arguments.sizes, [results[n][name][column] for n in arguments.sizes], marker="o", label=name)
        whole = 1 if column == 0 else 40
        axis.plot(arguments.sizes, [whole * n for n in arguments.sizes], color="black", ls=":", label="the whole graph")
        axis.set(xscale="log", yscale="log", xlabel="vertices of the graph", title=f"{title} per seed vertex")
    axes[1].legend()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "local-graph-clustering-work.png").write_bytes(png(figure))


if __name__ == "__main__":
    main()
