"""Flow diffusion: known answers, optimality, conservation, locality, and what happens at the edges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tasks.graphs.adjacency import Graph, graph_from_edges
from tasks.graphs.edge_weights import attribute_weights, label_weights, plain_weights
from tasks.graphs.flow_diffusion import DiffusionSettings, FlowDiffusion, capacity, diffuse, sinks_of
from tasks.graphs.local_cluster import LocalCluster, cluster_arrays
from tasks.graphs.neighbourhood import Neighbourhood

PATH = np.array([[0, 1], [1, 2]])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_graph(n: int, degree: float, seed: int) -> Graph:
    """A cycle through all vertices, so that it is connected, and random chords."""
    chords = rng(seed).integers(n, size=(round(n * degree / 2), 2))
    cycle = np.stack([np.arange(n), np.roll(np.arange(n), 1)], axis=1)
    return graph_from_edges(n, np.concatenate([cycle, chords]))


def laplacian(graph: Graph, weigh=None) -> np.ndarray:
    dense = np.zeros((graph.n, graph.n))
    for i in range(graph.n):
        dense[i, graph.neighbours(i)] = (weigh or graph.edge_weights)(i)
    return np.diag(dense.sum(axis=1)) - dense


def spread(
    graph: Graph, seed: int, amount: float, *, sink: str = "one", tol: float = 1e-9, weigh=None, passes: int = 100000
):
    flow = FlowDiffusion(graph, seed, weigh or plain_weights(graph), sinks_of(graph, sink))
    flow.add_mass(amount)
    done = flow.spread(tol=tol, max_passes=passes, rng=rng())
    x, mass = np.zeros(graph.n), np.zeros(graph.n)
    x[flow.area.vertices], mass[flow.area.vertices] = flow.x, flow.mass
    return x, mass, done, flow


def settings_of(**changes) -> DiffusionSettings:
    plain = {
        "sink": "one",
        "mass": [2.0, 3.0],
        "tol": 1e-6,
        "max_passes": 10000,
        "rounding": "support",
        "overflow": "error",
    }
    return DiffusionSettings(**{**plain, **changes})


@pytest.mark.parametrize(("w", "v"), [(1.0, 1.0), (2.0, 0.5), (0.05, 1.0), (1.0, 0.05)])
def test_known_answer_on_a_path(w: float, v: float) -> None:
    graph = graph_from_edges(3, PATH, np.array([w, v]))
    x, mass, done, flow = spread(graph, 0, 2.5)
    assert done
    np.testing.assert_allclose(x, [0.5 / v + 1.5 / w, 0.5 / v, 0.0], atol=1e-5)
    np.testing.assert_allclose(mass, [1.0, 1.0, 0.5], atol=1e-6)
    assert flow.support() == [0, 1]


@pytest.mark.parametrize("sink", ["one", "degree"])
def test_same_optimum_as_a_general_solver(sink: str) -> None:
    graph = random_graph(14, 3, seed=1)
    t = np.array([sinks_of(graph, sink)(i) for i in range(14)])
    delta = np.zeros(14)
    delta[4] = 0.6 * t.sum()
    weigh = attribute_weights(graph, rng(2).normal(size=(14, 3)), 0.2)
    matrix = laplacian(graph, weigh)
    reference = minimize(
        lambda x: x @ matrix @ x / 2 - x @ (delta - t), np.zeros(14), jac=lambda x: matrix @ x - (delta - t),
        method="L-BFGS-B", bounds=[(0, None)] * 14, options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 100000},
    )  # fmt: skip
    x, mass, _, _ = spread(graph, 4, delta[4], sink=sink, weigh=weigh, tol=1e-10)
    np.testing.assert_allclose(x, reference.x, atol=1e-4)
    np.testing.assert_allclose(mass, delta - matrix @ x, atol=1e-8)  # the mass kept is the mass of the formula


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(1.5, 25.0), st.sampled_from(["one", "degree"]), st.sampled_from([1, 3, 5000]))
def test_conservation_optimality_and_locality(seed: int, amount: float, sink: str, passes: int) -> None:
    graph, tol = random_graph(60, 4, seed), 1e-4
    x, mass, done, flow = spread(graph, seed % 60, amount, sink=sink, tol=tol, passes=passes)
    t = np.array([sinks_of(graph, sink)(i) for i in range(60)])
    assert mass.sum() == pytest.approx(amount, abs=1e-9)  # after any number of passes
    assert t[x > 0].sum() <= amount + 1e-9
    if done:
        assert (mass <= t + tol).all()
        assert (np.abs(mass - t)[x > 0] <= tol).all()
    assert sorted(flow.area.rows) == [i for i, value in enumerate(flow.x) if value > 0]  # only who pushed was read


def test_order_of_pushes_is_random_but_the_optimum_is_one() -> None:
    graph = random_graph(80, 5, 3)
    results = []
    for seed in (0, 0, 1):
        flow = FlowDiffusion(graph, 7, plain_weights(graph), sinks_of(graph, "one"))
        flow.add_mass(30.0)
        flow.spread(tol=1e-7, max_passes=100000, rng=rng(seed))
        results.append({v: x for v, x in zip(flow.area.vertices, flow.x, strict=True) if x > 1e-4})
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert results[0].keys() == results[2].keys()
    assert [results[2][v] for v in results[0]] == pytest.approx(list(results[0].values()), abs=1e-3)


def test_more_mass_continues_from_less() -> None:
    graph = random_graph(80, 5, 4)
    at_once = spread(graph, 7, 30.0, tol=1e-8)[0]
    flow = FlowDiffusion(graph, 7, plain_weights(graph), sinks_of(graph, "one"))
    for amount in (12.0, 10.0, 8.0):
        flow.add_mass(amount)
        flow.spread(tol=1e-8, max_passes=100000, rng=rng(5))
    x = np.zeros(80)
    x[flow.area.vertices] = flow.x
    np.testing.assert_allclose(x, at_once, atol=1e-5)


@pytest.mark.parametrize("labels", ["random", "equal"])
def test_epsilon_one_and_equal_labels_are_the_plain_graph_to_the_bit(labels: str) -> None:
    graph = random_graph(80, 5, 6)
    y = np.ones(80, dtype=np.uint8) if labels == "equal" else rng(1).integers(2, size=80).astype(np.uint8)
    epsilon = 0.05 if labels == "equal" else 1.0
    plain = diffuse(graph, 3, 12, settings_of(), plain_weights(graph), rng(9))
    weighted = diffuse(graph, 3, 12, settings_of(), label_weights(graph, y, epsilon, 3), rng(9))
    for name, array in cluster_arrays([plain]).items():
        np.testing.assert_array_equal(array, cluster_arrays([weighted])[name])


def test_sinks_count_edges_while_pushes_divide_by_the_weighted_degree() -> None:
    graph = graph_from_edges(4, np.array([[0, 1], [0, 2], [0, 3]]))
    weigh = label_weights(graph, np.array([1, 0, 0, 0]), 0.05, 0)
    x, mass, _, flow = spread(graph, 0, 5.0, sink="degree", weigh=weigh, passes=1)
    assert flow.sinks[0] == 3.0
    assert x[0] == pytest.approx((5.0 - 3.0) / 0.15)
    assert mass.tolist() == pytest.approx([3.0, 2 / 3, 2 / 3, 2 / 3])


def test_a_seed_that_labels_cut_off_still_spreads() -> None:
    graph = random_graph(40, 4, 2)
    y = np.ones(40, dtype=np.uint8)
    y[graph.neighbours(5)] = 0
    result = diffuse(graph, 5, 5, settings_of(mass=[2.0]), label_weights(graph, y, 0.01, 5), rng())
    assert len(result.vertices) > 1
    assert np.isfinite(result.score).all()
    assert result.score.max() > 50  # the potential is high where edges are thin


def test_a_mass_that_the_component_cannot_hold() -> None:
    graph = graph_from_edges(5, np.array([[0, 1], [1, 2], [3, 4]]))
    with pytest.raises(ValueError, match=r"mass: 2 x 3 = 6 is more than the 3 that the component of vertex 0 can hold"):
        diffuse(graph, 0, 3, settings_of(mass=[0.5, 2.0]), plain_weights(graph), rng())
    some = diffuse(graph, 0, 3, settings_of(mass=[0.5, 2.0], overflow="skip"), plain_weights(graph), rng())
    assert [c.mass for c in some.candidates] == [0.5]
    none = diffuse(graph, 0, 3, settings_of(mass=[2.0], overflow="skip"), plain_weights(graph), rng())
    assert sorted(none.vertices.tolist()) == [0, 1, 2]
    # Exactly full is a solution.
    full = diffuse(graph, 0, 3, settings_of(mass=[1.0]), plain_weights(graph), rng())
    assert sorted(full.vertices.tolist())[:2] == [0, 1]


def test_capacity_stops_when_it_is_enough() -> None:
    graph = random_graph(10000, 6, 1)
    held, edges = capacity(graph, 0, sinks_of(graph, "one"), 50)
    assert held == 50
    assert edges <= 50 * 20
    assert capacity(graph_from_edges(4, PATH), 0, sinks_of(graph_from_edges(4, PATH), "one"), 99)[0] == 3


def test_isolated_seed_and_too_little_mass_warn_and_leave_the_seed_alone() -> None:
    graph = graph_from_edges(4, PATH)
    with pytest.warns(UserWarning, match="vertex 3 has no neighbour"):
        assert diffuse(graph, 3, 2, settings_of(), plain_weights(graph), rng()).vertices.tolist() == [3]
    with pytest.warns(UserWarning, match="largest mass 1 stays in its sink 1"):
        result = diffuse(graph, 1, 1, settings_of(mass=[0.5, 1.0]), plain_weights(graph), rng())
    assert result.vertices.tolist() == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(diffuse(graph, 1, 1, settings_of(mass=[1.0, 2.0]), plain_weights(graph), rng()).candidates) == 2


def brute_conductance(graph: Graph, members: list[int], weigh) -> float:
    dense = np.diag(np.diag(laplacian(graph, weigh))) - laplacian(graph, weigh)
    inside = np.isin(np.arange(graph.n), members)
    rest = (graph.degrees() if graph.weights is None else laplacian(graph).diagonal())[~inside].sum()
    smaller = min(dense[inside].sum(), rest)
    return dense[inside][:, ~inside].sum() / smaller if smaller else 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.booleans())
def test_conductance_and_sweep_against_brute_force(seed: int, weighted: bool) -> None:
    graph = random_graph(20, 4, seed)
    y = rng(seed).integers(2, size=20).astype(np.uint8)
    weigh = label_weights(graph, y, 0.05, 0) if weighted else plain_weights(graph)
    area, order = Neighbourhood(graph, weigh), rng(seed + 1).permutation(20)[:12].tolist()
    local = [area.touch(v) for v in order]
    every = [brute_conductance(graph, order[:k], weigh) for k in range(1, 13)]
    assert area.conductance(local) == pytest.approx(min(1.0, every[-1]))
    length, best = area.sweep(local)
    assert best == pytest.approx(min(1.0, *every))
    assert min(1.0, every[length - 1]) == pytest.approx(best)


def test_the_mass_is_chosen_by_the_conductance_of_the_weighted_graph() -> None:
    graph = random_graph(60, 5, 8)
    y = (np.arange(60) < 15).astype(np.uint8)
    weigh = label_weights(graph, y, 0.05, 2)
    result = diffuse(graph, 2, 10, settings_of(mass=[0.5, 1.0, 2.0, 3.0]), weigh, rng())
    expected = [min(1.0, brute_conductance(graph, c.vertices.tolist(), weigh)) for c in result.candidates]
    assert [c.conductance for c in result.candidates] == pytest.approx(expected)
    assert result.chosen == int(np.argmin(expected))


def test_sweep_rounding_is_a_prefix_of_the_support() -> None:
    graph = random_graph(60, 5, 8)
    support = diffuse(graph, 2, 10, settings_of(), plain_weights(graph), rng())
    swept = diffuse(graph, 2, 10, settings_of(rounding="sweep"), plain_weights(graph), rng())
    for a, b in zip(support.candidates, swept.candidates, strict=True):
        np.testing.assert_array_equal(a.vertices[: len(b.vertices)], b.vertices)
        assert b.conductance <= a.conductance + 1e-12


def work(n: int) -> LocalCluster:
    # A circulant graph looks the same from every vertex, whatever its size.
    offsets = np.array([1, 2, 5, 13, 34])
    edges = np.stack(np.broadcast_arrays(np.arange(n)[:, None], (np.arange(n)[:, None] + offsets) % n), axis=-1)
    graph = graph_from_edges(n, edges.reshape(-1, 2))
    return diffuse(graph, n // 2, 20, settings_of(), plain_weights(graph), rng())


def test_work_does_not_grow_with_the_graph() -> None:
    small, large = work(2000), work(60000)
    assert large.touched == small.touched < 600
    assert large.edges_read == small.edges_read


def test_seed_label_is_one_whatever_the_labels_say() -> None:
    graph = graph_from_edges(3, PATH)
    said = label_weights(graph, np.array([1, 0, 0]), 0.05, 1)  # the seed, 1, is labelled 0
    assert said(1).tolist() == [1.0, 0.05]
    assert said(0).tolist() == [1.0]
    assert said(2).tolist() == [0.05]


def test_attribute_weights() -> None:
    graph = graph_from_edges(3, PATH, np.array([2.0, 1.0]))
    weigh = attribute_weights(graph, np.array([[0.0, 0.0], [3.0, 4.0], [1e6, 0.0]], dtype=np.float32), 0.02)
    assert weigh(1).tolist() == pytest.approx([2 * np.exp(-0.5), 1e-9])  # no vertex loses all of its degree
