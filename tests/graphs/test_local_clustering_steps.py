"""The steps of local clustering together: labels, second diffusion, evaluation, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels, Representation
from tasks.cluster.flow_diffusion import flow_diffusion
from tasks.cluster.pagerank import pagerank
from tasks.evaluate.local_clustering_metrics import METRICS, local_clustering_metrics
from tasks.graphs.adjacency import graph_of
from tasks.graphs.edge_weights import label_weights
from tasks.graphs.local_cluster import cluster_arrays, local_clusters
from tasks.graphs.node_classifier import diffusion_examples
from tasks.graphs.queries import draw_queries
from tasks.graphs.vertex_dataset import NoisyLabels
from tasks.prepare.local_sbm import local_sbm
from tasks.pretrain.standardize import standardize
from tasks.pseudo_label.diffusion_node_labels import diffusion_node_labels
from tasks.self_train.cluster_of_seed_vertex import cluster_of_seed_vertex
from tasks.self_train.label_flow_diffusion import label_flow_diffusion
from tasks.self_train.label_pagerank import label_pagerank

FULL = local_sbm(
    n=600, cluster_size=60, p=0.25, q=0.01, labelled_per_class=20, noisy_labels=[NoisyLabels(a1=0.9, a0=0.9)]
)
DATA = FULL.without_truth()
FEATURES = standardize(DATA)
TRUTH = FULL.samples["label"].to_numpy(dtype=int)
PLAIN = flow_diffusion(DATA, seed_vertices=4, seed=0)
NONE = {"step": "none"}


def labels(source: str = "diffusion", seed: int = 0, dataset: Dataset = DATA, **keys) -> PseudoLabels:
    keys = {"positives": 15, "negatives": 15, "a1": 0.9, "a0": 0.9, **keys}
    return diffusion_node_labels(dataset, FEATURES, PLAIN, source=source, seed=seed, **keys)  # pyright: ignore[reportArgumentType]


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_same_seed_same_bits_other_seed_other_vertices() -> None:
    assert equal(PLAIN.arrays, flow_diffusion(DATA, seed_vertices=4, seed=0).arrays)
    other = flow_diffusion(DATA, seed_vertices=4, seed=1)
    assert not np.array_equal(PLAIN.arrays["seed_vertex"], other.arrays["seed_vertex"])
    assert equal(labels().arrays, labels().arrays)
    assert not equal(labels().arrays, labels(seed=1).arrays)
    # Every stage, PageRank and k-means among them, is asked about the same vertices.
    assert pagerank(DATA, seed_vertices=4, seed=0, rho=1e-3).arrays["seed_vertex"].tolist() == [
        q.vertex for q in draw_queries(DATA, 4, 0)
    ]


@pytest.mark.parametrize("keys", [{"weights": "none"}, {"weights": "labels", "epsilon": 1.0}])
def test_without_weights_the_second_diffusion_is_the_first_to_the_bit(keys: dict) -> None:
    again = label_flow_diffusion(DATA, FEATURES, PLAIN, labels(), seed=0, **keys)
    assert equal(again.arrays, PLAIN.arrays)


def test_labels_from_diffusion_use_no_label_but_the_seeds() -> None:
    samples = DATA.samples.copy()
    samples["given_label"] = np.random.default_rng(5).permutation(samples["given_label"])
    scrambled = Dataset({"samples": samples}, DATA.arrays, meta=DATA.meta)
    assert equal(labels().arrays, labels(dataset=scrambled).arrays)


def test_few_shot_labels_depend_on_what_is_granted_and_not_on_what_classes_are_called() -> None:
    def regranted(change) -> Dataset:
        samples = DATA.samples.copy()
        granted = samples["given_label"].notna()
        samples.loc[granted, "given_label"] = change(samples.loc[granted, "given_label"].to_numpy(dtype=int))
        return Dataset({"samples": samples}, DATA.arrays, meta=DATA.meta)

    before = labels("few_shot").arrays
    assert equal(before, labels("few_shot", dataset=regranted(lambda given: (given + 1) % 10)).arrays)
    rng = np.random.default_rng(5)
    assert not equal(before, labels("few_shot", dataset=regranted(rng.permutation)).arrays)


def test_given_labels_are_the_granted_ones_and_the_seed_is_1() -> None:
    given = labels("given").arrays["labels"]
    for row, vertex in zip(given, PLAIN.arrays["seed_vertex"], strict=True):
        expected = np.array(DATA.arrays["noisy_labels"][0, TRUTH[vertex]])
        expected[vertex] = 1
        np.testing.assert_array_equal(row, expected)


def test_seed_is_labelled_1_by_every_source() -> None:
    seeds = PLAIN.arrays["seed_vertex"]
    for source in ("diffusion", "few_shot", "given"):
        assert (labels(source).arrays["labels"][np.arange(4), seeds] == 1).all()


@pytest.mark.parametrize(("reached", "negatives"), [(50, 20), (590, 20), (595, 20)])
def test_negatives_lie_outside_of_the_support(reached: int, negatives: int) -> None:
    order = np.random.default_rng(0).permutation(600)
    positive, negative = diffusion_examples(600, order[:reached], 15, negatives, np.random.default_rng(1))
    assert positive.tolist() == order[:15].tolist()  # the largest potentials
    assert len(set(negative.tolist())) == min(negatives, 600 - reached)
    assert not set(negative.tolist()) & set(order[:reached].tolist())
    with pytest.raises(ValueError, match="reached every vertex"):
        diffusion_examples(600, order, 15, negatives, np.random.default_rng(1))


@pytest.mark.parametrize(("a1", "a0"), [(0.9, 0.8), (0.4, 0.4)])
def test_weights_that_stay_and_leave_are_those_of_the_theory(a1: float, a0: float) -> None:
    """A member labelled 1 keeps weight p (k-1) (a1 + (1-a1) eps) inside and q (n-k) ((1-a0) + a0 eps) outside."""
    n, k, p, q, epsilon = 600, 60, 0.25, 0.02, 0.05
    full = local_sbm(n=n, cluster_size=k, p=p, q=q, noisy_labels=[NoisyLabels(a1=a1, a0=a0)])
    graph, truth = graph_of(full), full.samples["label"].to_numpy(dtype=int)
    inside, outside = [], []
    for c, noisy in enumerate(full.arrays["noisy_labels"][0]):
        for vertex in np.flatnonzero((truth == c) & (noisy == 1)).tolist():
            weight = label_weights(graph, noisy, epsilon, vertex)(vertex)
            stays = truth[graph.neighbours(vertex)] == c
            inside.append(weight[stays].sum())
            outside.append(weight[~stays].sum())
    assert np.mean(inside) == pytest.approx(p * (k - 1) * (a1 + (1 - a1) * epsilon), rel=0.15)
    assert np.mean(outside) == pytest.approx(q * (n - k) * (1 - a0 + a0 * epsilon), rel=0.15)
    better = np.mean(inside) / np.mean(outside) > p * (k - 1) / (q * (n - k))
    assert better == (a0 + a1 > 1)


def test_labels_help_where_most_edges_leave_the_target() -> None:
    """Means over three graphs: 15 edges of a vertex stay inside, 22 leave, one label in ten is wrong."""
    values = []
    for draw in range(3):
        full = local_sbm(n=600, cluster_size=60, p=0.25, q=0.04, noisy_labels=[NoisyLabels(a1=0.9, a0=0.9)], seed=draw)
        data = full.without_truth()
        features, plain = standardize(data), flow_diffusion(data, seed_vertices=5, seed=0)
        given = diffusion_node_labels(data, features, plain, source="given", a1=0.9, a0=0.9, seed=0)
        model = label_flow_diffusion(data, features, plain, given, seed=0)
        values.append(local_clustering_metrics(full, features, plain, given, model, figures=False).values)
    f1, plain_f1, labels_f1 = (np.mean([v[name] for v in values]) for name in ("f1", "plain_f1", "labels_f1"))
    assert f1 > plain_f1 + 0.1
    assert f1 > labels_f1 + 0.02
    # F1 of labels alone: 2 a1 k / (a1 k + (1 - a0)(n - k) + k).
    assert labels_f1 == pytest.approx(2 * 0.9 * 60 / (0.9 * 60 + 0.1 * 540 + 60), abs=0.04)
    assert set(values[0]) <= set(METRICS)
    assert all(type(value) is float for value in values[0].values())


def test_label_pagerank_without_weights_is_pagerank() -> None:
    first = pagerank(DATA, seed_vertices=4, seed=0, rho=1e-3)
    assert equal(label_pagerank(DATA, FEATURES, first, labels(), weights="none", rho=1e-3).arrays, first.arrays)
    assert not equal(label_pagerank(DATA, FEATURES, first, labels(), rho=1e-3).arrays, first.arrays)


def test_metrics_of_a_known_cluster() -> None:
    clusters = local_clusters(PLAIN.arrays, "test")
    found = {int(c.seed_vertex): np.flatnonzero(TRUTH[c.seed_vertex] == TRUTH)[:30] for c in clusters}
    table = pd.DataFrame({"unit": np.arange(600), "cluster": np.full(600, -1)})
    for i, (vertex, vertices) in enumerate(found.items()):
        table.loc[[*vertices, vertex], "cluster"] = i
    model = cluster_of_seed_vertex(DATA, Clusters({"units": table}), seed_vertices=4, seed=0)
    values = local_clustering_metrics(FULL, FEATURES, PLAIN, PseudoLabels(meta=NONE), model).values
    assert values["precision"] == 1.0
    assert 0.5 <= values["recall"] <= 31 / 60
    assert "labels_f1" not in values
    assert "best_mass_f1" not in values


def test_labels_alone_and_the_oracle_mass() -> None:
    found = labels()
    values = local_clustering_metrics(FULL, FEATURES, PLAIN, found, Model(meta=NONE)).values
    assert values["f1"] == values["labels_f1"]
    assert values["touched_share"] == 1.0
    model = label_flow_diffusion(DATA, FEATURES, PLAIN, found, seed=0)
    metrics = local_clustering_metrics(FULL, FEATURES, PLAIN, found, model, figures=True)
    assert metrics.values["best_mass_f1"] >= metrics.values["f1"]
    assert metrics.figures["diffusion"].startswith(b"\x89PNG")
    assert set(metrics.tables["curves"]["curve"]) == {"f1_by_mass"}  # all targets are of one size
    metrics.check()
    with pytest.raises(ValueError, match="neither clusters nor labels"):
        local_clustering_metrics(FULL, FEATURES, PLAIN, PseudoLabels(meta=NONE), Model(meta=NONE))


def test_mean_f1_by_size_of_the_target() -> None:
    seeds = PLAIN.arrays["seed_vertex"]
    free = min(set(range(10)) - set(TRUTH[seeds].tolist()))
    merged = np.where(free == TRUTH, TRUTH[seeds[0]], TRUTH)  # the first seed's class has twice the size
    full = Dataset(
        {"samples": FULL.samples.assign(label=pd.Series(merged, dtype="Int64"))}, FULL.arrays, meta=FULL.meta
    )
    model = label_flow_diffusion(DATA, FEATURES, PLAIN, labels(), weights="none", seed=0)
    curves = local_clustering_metrics(full, FEATURES, PLAIN, labels(), model, figures=False).tables["curves"]
    curve = curves.query("curve == 'f1_by_target_size'")
    found = local_clusters(PLAIN.arrays, "test")
    f1 = np.array([f1_score(merged == merged[c.seed_vertex], np.isin(np.arange(600), c.vertices)) for c in found])
    double = merged[seeds] == merged[seeds[0]]
    assert curve["x"].tolist() == [60, 120]
    assert curve["y"].tolist() == pytest.approx([f1[~double].mean(), f1[double].mean()])


def test_arrays_keep_clusters_exactly() -> None:
    assert equal(cluster_arrays(local_clusters(PLAIN.arrays, "test")), PLAIN.arrays)


def without(*names: str) -> Dataset:
    return Dataset(DATA.tables, {k: v for k, v in DATA.arrays.items() if k not in names}, meta=DATA.meta)


def test_mistakes_are_named() -> None:
    nothing, found = Representation(meta=NONE), labels()
    with pytest.raises(ValueError, match="seed_vertices: 201 wanted, but only 200"):
        flow_diffusion(DATA, seed_vertices=201, seed=0)
    with pytest.raises(ValueError, match="target: the data set grants no size"):
        flow_diffusion(without("target_size"), seed=0)
    empty = Dataset(DATA.tables, {**DATA.arrays, "target_size": np.zeros(10)}, meta=DATA.meta)
    with pytest.raises(ValueError, match=r"target: the target of vertex .* is empty"):
        flow_diffusion(empty, seed=0)
    with pytest.raises(ValueError, match="mass: 20 x 60 = 1200 is more than the 600"):
        flow_diffusion(DATA, mass=[20.0], seed=0)
    with pytest.raises(ValueError, match="'given_label' is needed and absent"):
        flow_diffusion(Dataset({"samples": DATA.samples.drop(columns="given_label")}, DATA.arrays), seed=0)
    with pytest.raises(ValueError, match="source: 'diffusion' needs attributes"):
        diffusion_node_labels(DATA, nothing, PLAIN, seed=0)
    with pytest.raises(ValueError, match=r"positives: 21 wanted, but 20 labels of class"):
        labels("few_shot", positives=21)
    with pytest.raises(ValueError, match=r"negatives: 181 wanted, but 180 labels of other classes"):
        labels("few_shot", negatives=181)
    with pytest.raises(ValueError, match=r"no noisy labels with a1 0.8 and a0 0.8 .*a1 0.9 a0 0.9"):
        labels("given", a1=0.8, a0=0.8)
    with pytest.raises(ValueError, match="does not grant; give it 'noisy_labels'"):
        labels("given", dataset=without("noisy_labels"))
    with pytest.raises(ValueError, match="'labels' needs pseudo-labels"):
        label_flow_diffusion(DATA, FEATURES, PLAIN, PseudoLabels(meta=NONE), seed=0)
    with pytest.raises(ValueError, match="'attributes' needs attributes"):
        label_flow_diffusion(DATA, nothing, PLAIN, found, weights="attributes", seed=0)
    with pytest.raises(ValueError, match="use step 'flow_diffusion' or 'pagerank'"):
        label_pagerank(DATA, FEATURES, Clusters(meta=NONE), found)
    with pytest.raises(ValueError, match="takes its masses from step 'flow_diffusion'"):
        label_flow_diffusion(DATA, FEATURES, pagerank(DATA, seed_vertices=4, rho=1e-2, seed=0), found, seed=0)
    with pytest.raises(ValueError, match="one row for each of 600 vertices"):
        cluster_of_seed_vertex(DATA, Clusters(meta=NONE), seed=0)
    unknown = Dataset({"samples": FULL.samples.assign(label=pd.Series([None] * 600, dtype="Int64"))}, FULL.arrays)
    with pytest.raises(ValueError, match="4 rows have no 'label'"):
        local_clustering_metrics(unknown, FEATURES, PLAIN, found, Model(meta=NONE))


def test_a_graph_without_attributes_can_be_clustered_and_pagerank_needs_no_size() -> None:
    bare = without("attributes", "target_size", "target_volume")
    assert len(local_clusters(pagerank(bare, seed_vertices=2, rho=1e-3, seed=0).arrays, "test")) == 2
    sized = flow_diffusion(bare, seed_vertices=2, target=60.0, seed=0)
    assert np.array_equal(sized.arrays["vertex"], flow_diffusion(DATA, seed_vertices=2, seed=0).arrays["vertex"])
