"""Local clustering: work against the size of the graph, and F1 against the accuracy of the labels.

    python tests/benchmarks/local_graph_clustering.py

Work: block models of blocks of 100 vertices, inside degree 20, outside degree 20 whatever the size, so that a target
and its surroundings look the same in every graph. Per size the mean over seed vertices of touched vertices, of
adjacency entries read (the numbers do not depend on the machine) and of seconds; a table, and a log-log figure.

Accuracy: 2,000 vertices, blocks of 100, p = 0.2, q = 0.012; labels that are right with probability a1 = a0 everywhere.
Mean F1 over graphs and seed vertices of flow diffusion, LFD and the labels alone; a table, and a figure.
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

# Masses and epsilon as params.yaml has them.
PLAIN = DiffusionSettings("one", [2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0], 1e-3, 100, "support", "error")
LABELS = DiffusionSettings("one", [2.0, 2.5, 3.0, 3.5, 4.0], 1e-3, 100, "support", "error")
EPSILON = 0.1
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
            if name.startswith("PageRank"):
                found = pagerank_cluster(graph, vertex, plain_weights(graph), teleport=0.15, rho=1e-4)
            elif name.startswith("LFD"):
                weigh = label_weights(graph, labels, EPSILON, vertex)
                found = diffuse(graph, vertex, 100.0, LABELS, weigh, np.random.default_rng(0))
            else:
                found = diffuse(graph, vertex, 100.0, PLAIN, plain_weights(graph), np.random.default_rng(0))
            work[name].append((found.touched, found.edges_read, time.perf_counter() - started))
    return {name: np.mean(rows, axis=0) for name, rows in work.items()}


def recover(accuracy: float, graphs: int, seeds: int) -> dict[str, float]:
    """Mean F1 on `graphs` graphs with `seeds` seed vertices each, labels right with probability `accuracy`."""
    f1: dict[str, list[float]] = {"flow diffusion": [], "LFD": [], "labels alone": []}
    for draw in range(graphs):
        dataset = local_sbm(n=2000, cluster_size=100, p=0.2, q=0.012, labelled_per_class=1, attribute_dim=1, seed=draw)
        graph, block = graph_of(dataset), dataset.samples["label"].to_numpy(dtype=np.int64)
        rng = np.random.default_rng(draw)
        for vertex in rng.integers(2000, size=seeds).tolist():
            member = block == block[vertex]
            labels = (member ^ (rng.random(2000) >= accuracy)).astype(np.uint8)
            weigh = label_weights(graph, labels, EPSILON, vertex)
            found = {
                "flow diffusion": diffuse(graph, vertex, 100.0, PLAIN, plain_weights(graph), np.random.default_rng(0)),
                "LFD": diffuse(graph, vertex, 100.0, LABELS, weigh, np.random.default_rng(0)),
            }
            vertices_of = {**{name: f.vertices for name, f in found.items()}, "labels alone": np.flatnonzero(labels)}
            for name, vertices in vertices_of.items():
                f1[name].append(2 * member[vertices].sum() / (len(vertices) + 100))
    return {name: float(np.mean(values)) for name, values in f1.items()}


def draw_work(sizes: list[int], results: dict[int, dict[str, np.ndarray]]) -> bytes:
    figure, axes = subplots(1, 2, figsize=(9, 3.4))
    for column, (axis, title) in enumerate(zip(axes, ("vertices touched", "adjacency entries read"), strict=True)):
        for name in METHODS:
            axis.plot(sizes, [results[n][name][column] for n in sizes], marker="o", label=name)
        whole = 1 if column == 0 else 40
        axis.plot(sizes, [whole * n for n in sizes], color="black", ls=":", label="the whole graph")
        axis.set(xscale="log", yscale="log", xlabel="vertices of the graph", title=f"{title} per seed vertex")
    axes[1].legend()
    return png(figure)


def draw_recovery(results: dict[float, dict[str, float]]) -> bytes:
    figure, axis = subplots(figsize=(5.2, 3.4))
    for name in ("flow diffusion", "LFD", "labels alone"):
        axis.plot(list(results), [f1[name] for f1 in results.values()], marker="o", label=name)
    axis.set(xlabel="accuracy of the labels, a1 = a0", ylabel="F1", title="Recovery of the target")
    axis.legend()
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Local clustering: work against the size, F1 against the accuracy of labels"
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--accuracies", type=float, nargs="*", default=[0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
    parser.add_argument("--graphs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10, help="seed vertices per graph")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    work = {}
    for n in arguments.sizes:
        work[n] = measure(n, arguments.seeds)
        for name, (touched, edges, seconds) in work[n].items():
            print(f"n {n:>9,}  {name:26}  touched {touched:9,.0f}  edges {edges:9,.0f}  {seconds:.3f} s", flush=True)
    if work:
        (arguments.out / "local-graph-clustering-work.png").write_bytes(draw_work(arguments.sizes, work))
    recovery = {}
    for accuracy in arguments.accuracies:
        recovery[accuracy] = recover(accuracy, arguments.graphs, arguments.seeds)
        print(
            f"a1 = a0 = {accuracy:4}  " + "  ".join(f"{k} {v:.3f}" for k, v in recovery[accuracy].items()), flush=True
        )
    if recovery:
        (arguments.out / "local-graph-clustering-accuracy.png").write_bytes(draw_recovery(recovery))


if __name__ == "__main__":
    main()
