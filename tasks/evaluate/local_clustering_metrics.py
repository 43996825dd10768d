"""How well the clusters of the seed vertices recover their targets, and how much of the graph that took."""

import numpy as np
import pandas as pd

from tasks.artifacts import Clusters, Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.graphs.adjacency import Graph, graph_of
from tasks.graphs.edge_weights import plain_weights
from tasks.graphs.figures import draw_diffusions
from tasks.graphs.local_cluster import Candidate, LocalCluster, local_clusters
from tasks.graphs.neighbourhood import Neighbourhood
from tasks.graphs.reweighting import weights_for

METRICS = {
    "f1": "F1 of the cluster against the seed vertex's class, mean over seed vertices (0..1, higher is better)",
    "precision": "share of the cluster that belongs to the class, mean over seed vertices (0..1, higher is better)",
    "recall": "share of the class that is in the cluster, mean over seed vertices (0..1, higher is better)",
    "best_mass_f1": "F1 if the mass were chosen by F1 instead of conductance: an oracle, no result (0..1)",
    "plain_f1": "F1 of the clusters of stage cluster, before any labels (0..1, higher is better)",
    "labels_f1": "F1 of the labels alone (0..1, higher is better)",
    "labels_a1": "share of the class that the labels call 1 (0..1, higher is better)",
    "labels_a0": "share of all other vertices that the labels call 0 (0..1, higher is better)",
    "conductance": "conductance of the cluster in the plain graph, mean over seed vertices (0..1, lower is better)",
    "cluster_size": "vertices in the cluster, mean over seed vertices",
    "touched_share": "share of all vertices that received mass, mean over seed vertices (0..1, lower is better)",
    "edges_read_share": "adjacency entries read, those read anew included, over 2m, mean over seed vertices (lower is better)",
}


def local_clustering_metrics(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    figures: bool = True,
) -> Metrics:
    """Recovery of the target of each seed vertex (the measures of de Luca et al., ICLR 2024, arXiv 2310.08031).

    The target is the class (`label`) of the seed vertex, the result the model's cluster; without a model the vertices
    labelled 1. Metrics that an arm has no data for are left out.

    Curves: `f1_by_mass`: mean F1 (y) of the clusters for mass x; `f1_by_target_size`, where they differ in size: mean F1
    of the targets of x vertices. Figure `diffusion`: the surroundings of the first seed vertex, before and after.

    Raises ValueError: neither model nor labels; a seed vertex without a true label.
    """
    graph = graph_of(dataset)
    plain = local_clusters(clusters.arrays, "evaluation") if "vertex_offset" in clusters.arrays else None
    labels = np.asarray(pseudo_labels.arrays["labels"]) if "labels" in pseudo_labels.arrays else None
    if not model.is_none:
        results = local_clusters(model.arrays, "local_clustering_metrics")
    elif labels is not None and plain is not None:
        results = [_labelled(cluster.seed_vertex, row) for cluster, row in zip(plain, labels, strict=True)]
    else:
        raise ValueError(
            "model: neither clusters nor labels of the seed vertices to evaluate; name a step of self_train"
        )
    seeds = np.array([result.seed_vertex for result in results])
    label = dataset.labels("label", seeds)
    truth = dataset.samples["label"].fillna(-1).to_numpy(dtype=np.int64)
    members = [truth == c for c in label]
    scores = np.array([_scores(r.vertices, m) for r, m in zip(results, members, strict=True)])
    names = ("f1", "precision", "recall")
    values: dict[str, float] = dict(zip(names, scores.mean(axis=0).tolist(), strict=True))
    values["conductance"] = float(np.mean([_conductance(graph, r) for r in results]))
    values["cluster_size"] = float(np.mean([len(r.vertices) for r in results]))
    values["touched_share"] = float(np.mean([r.touched for r in results]) / graph.n)
    values["edges_read_share"] = float(np.mean([r.edges_read for r in results]) / max(1, int(graph.indptr[-1])))
    by_mass = [
        (candidate.mass, _scores(candidate.vertices, m)[0], q)
        for q, (r, m) in enumerate(zip(results, members, strict=True))
        for candidate in r.candidates
    ]
    if any(mass > 0 for mass, _, _ in by_mass):
        best = [max(f1 for _, f1, owner in by_mass if owner == q) for q in range(len(results))]
        values["best_mass_f1"] = float(np.mean(best))
    if plain is not None:
        values["plain_f1"] = float(np.mean([_scores(c.vertices, m)[0] for c, m in zip(plain, members, strict=True)]))
    if labels is not None:
        called = [np.flatnonzero(row) for row in labels]
        values["labels_f1"] = float(np.mean([_scores(v, m)[0] for v, m in zip(called, members, strict=True)]))
        values["labels_a1"] = float(np.mean([row[m].mean() for row, m in zip(labels, members, strict=True)]))
        outside = [1 - row[~m].mean() if not m.all() else 1.0 for row, m in zip(labels, members, strict=True)]
        values["labels_a0"] = float(np.mean(outside))
    sizes = np.array([m.sum() for m in members])
    curves = [_means("f1_by_target_size", sizes, scores[:, 0])] if len(set(sizes.tolist())) > 1 else []
    if "best_mass_f1" in values:
        mass, f1 = np.array([(mass, f1) for mass, f1, _ in by_mass if mass > 0]).T
        curves.append(_means("f1_by_mass", mass, f1))
    drawn = {}
    diffused = plain is not None and model.meta.get("method") in ("flow_diffusion", "pagerank")
    if figures and diffused:
        assert plain is not None
        weigh = weights_for(
            graph,
            model.meta["weights"],
            pseudo_labels,
            representation,
            epsilon=model.meta["epsilon"],
            gamma=model.meta["gamma"],
        )
        panels = [
            ("plain graph", plain[0], plain_weights(graph)),
            (f"weights: {model.meta['weights']}", results[0], weigh(0, int(seeds[0]))),
        ]
        drawn["diffusion"] = draw_diffusions(graph, members[0], panels)
    tables = {"curves": pd.concat(curves, ignore_index=True)} if curves else {}
    return Metrics(tables, meta={"values": values}, figures=drawn)


def _scores(vertices: np.ndarray, member: np.ndarray) -> tuple[float, float, float]:
    """F1, precision, recall; 0 for a cluster without a member of the target."""
    right = float(member[vertices].sum())
    if right == 0:
        return 0.0, 0.0, 0.0
    size = float(member.sum())
    return 2 * right / (len(vertices) + size), right / len(vertices), right / size


def _labelled(seed_vertex: int, labels: np.ndarray) -> LocalCluster:
    """What is labelled 1, as a cluster: labels of all vertices, no edge."""
    vertices = np.flatnonzero(labels)
    candidates = [Candidate(0.0, 1.0, vertices)]
    return LocalCluster(seed_vertex, candidates, 0, vertices, np.ones(len(vertices)), len(labels), 0)


def _conductance(graph: Graph, result: LocalCluster) -> float:
    area = Neighbourhood(graph, plain_weights(graph))
    return area.conductance([area.touch(vertex) for vertex in result.vertices.tolist()])


def _means(curve: str, x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    places = np.unique(x)
    return curve_table(curve, places, [y[x == place].mean() for place in places])
