"""Local flow diffusion from a seed vertex by random coordinate descent.

Mass is put on the seed and spreads along the edges until no vertex i keeps more than its sink T_i. That is the
quadratic program min x'Lx / 2 - x'(Delta - T) over x >= 0, L the weighted Laplacian (Fountoulakis, Wang & Yang, ICML
2020, arXiv 2002.09247; Yang & Fountoulakis, ICML 2023, arXiv 2301.13187): m_i = Delta_i + sum_j w_ij (x_j - x_i) is
the mass at i, and at the optimum m_i <= T_i everywhere, m_i = T_i where x_i > 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.graphs.adjacency import Graph
from tasks.graphs.edge_weights import EdgeWeights
from tasks.graphs.local_cluster import Candidate, LocalCluster, lone_seed
from tasks.graphs.neighbourhood import Neighbourhood

# A potential below this is round-off: the vertex was never over its sink by more than the tolerance.
LEAST_POTENTIAL = 1e-9


@dataclass(frozen=True)
class DiffusionSettings:
    """Keys of step `flow_diffusion`, which explains them."""

    sink: str
    mass: list[float]
    tol: float
    max_passes: int
    rounding: str
    overflow: str


class FlowDiffusion:
    """The state of one diffusion: `mass` and potential `x` of every touched vertex (local index), sinks, rows."""

    def __init__(self, graph: Graph, seed_vertex: int, edge_weights: EdgeWeights, sink: Callable[[int], float]):
        self.area = Neighbourhood(graph, edge_weights)
        self.mass: list[float] = []
        self.x: list[float] = []
        self.sinks: list[float] = []
        self._sink = sink
        self.area.touch(seed_vertex)
        self._grow()

    def add_mass(self, amount: float) -> None:
        """Put more mass on the seed; what was reached so far stays a feasible start, since x grows with the mass."""
        self.mass[0] += amount

    def spread(self, *, tol: float, max_passes: int, rng: np.random.Generator) -> bool:
        """Passes over all vertices above their sink by `tol`, in random order; whether none is left at the end."""
        mass, x, sinks, row = self.mass, self.x, self.sinks, self.area.row
        for _ in range(max_passes):
            active = [i for i, m in enumerate(mass) if m > sinks[i] + tol]
            if not active:
                return True
            for i in rng.permutation(len(active)).tolist():
                local = active[i]
                neighbours, weights, degree, _ = row(local)
                if len(mass) < len(self.area.vertices):
                    self._grow()
                # An earlier push of this pass can only have added mass here.
                push = (mass[local] - sinks[local]) / degree
                x[local] += push
                mass[local] = sinks[local]
                for j, w in zip(neighbours, weights, strict=True):
                    mass[j] += w * push
        return all(m <= t + tol for m, t in zip(mass, sinks, strict=True))

    def support(self) -> list[int]:
        """Local indices with a positive potential, largest first, ties by vertex."""
        reached = [i for i, value in enumerate(self.x) if value > LEAST_POTENTIAL]
        return sorted(reached, key=lambda i: (-self.x[i], self.area.vertices[i]))

    def _grow(self) -> None:
        for vertex in self.area.vertices[len(self.mass) :]:
            self.mass.append(0.0)
            self.x.append(0.0)
            self.sinks.append(self._sink(vertex))


def sinks_of(graph: Graph, sink: str) -> Callable[[int], float]:
    """T_i: 1 (`one`), or the number of neighbours (`degree`), whatever the weights of the edges are."""
    return (lambda vertex: float(graph.degree(vertex))) if sink == "degree" else (lambda vertex: 1.0)


def capacity(graph: Graph, seed_vertex: int, sink: Callable[[int], float], enough: float) -> tuple[float, int]:
    """Sum of the sinks of the seed's component, counted breadth-first until it is `enough`, and adjacency entries read.

    Mass that a component cannot hold would go round for ever. With sinks of at least 1, no more than `enough`
    vertices are looked at, however large the graph.
    """
    seen, queue, held, edges = {seed_vertex}, [seed_vertex], sink(seed_vertex), 0
    for vertex in queue:
        if held >= enough:
            break
        neighbours = graph.neighbours(vertex).tolist()
        edges += len(neighbours)
        for other in neighbours:
            if other not in seen and held < enough:
                seen.add(other)
                queue.append(other)
                held += sink(other)
    return held, edges


def diffuse(
    graph: Graph,
    seed_vertex: int,
    measure: float,
    settings: DiffusionSettings,
    edge_weights: EdgeWeights,
    rng: np.random.Generator,
) -> LocalCluster:
    """The cluster of `seed_vertex`: of the clusters for each mass, that of lowest conductance in `edge_weights`.

    `measure`: size (sink `one`) or volume (sink `degree`) of the target, the unit of `settings.mass`. Masses are
    taken in ascending order, each from the solution for the one before: the optimum is unique.

    Raises `ValueError` for a mass that the seed's component cannot hold (with overflow `skip` it is left out, and
    if none is left the component is the cluster). Warns and returns the seed alone where nothing can move.
    """
    sink = sinks_of(graph, settings.sink)
    if graph.degree(seed_vertex) == 0:
        warnings.warn(f"vertex {seed_vertex} has no neighbour; its cluster is the vertex alone", stacklevel=2)
        return lone_seed(seed_vertex)
    masses = sorted(set(settings.mass))
    held, edges = capacity(graph, seed_vertex, sink, masses[-1] * measure)
    fitting = [mass for mass in masses if mass * measure <= held]
    if len(fitting) < len(masses) and settings.overflow == "error":
        raise ValueError(
            f"mass: {masses[-1]:g} x {measure:g} = {masses[-1] * measure:g} is more than the {held:g} that the component "
            f"of vertex {seed_vertex} can hold; lower 'mass' or set overflow: skip"
        )
    if not fitting:
        return _whole_component(graph, seed_vertex, edge_weights, edges)
    flow = FlowDiffusion(graph, seed_vertex, edge_weights, sink)
    candidates, potentials, before = [], [], 0.0
    for mass in fitting:
        flow.add_mass((mass - before) * measure)
        before = mass
        flow.spread(tol=settings.tol, max_passes=settings.max_passes, rng=rng)
        reached = flow.support() or [0]
        if settings.rounding == "sweep":
            length, conductance = flow.area.sweep(reached)
        else:
            length, conductance = len(reached), flow.area.conductance(reached)
        vertices = np.array([flow.area.vertices[i] for i in reached], dtype=np.int64)
        candidates.append(Candidate(mass, conductance, vertices[:length]))
        potentials.append((vertices, np.array([flow.x[i] for i in reached])))
    chosen = min(range(len(candidates)), key=lambda i: candidates[i].conductance)
    if len(candidates[-1].vertices) == 1 and flow.x[0] <= LEAST_POTENTIAL:
        warnings.warn(
            f"vertex {seed_vertex}: the largest mass {before * measure:g} stays in its sink {sink(seed_vertex):g}; "
            "its cluster is the vertex alone, raise 'mass'",
            stacklevel=2,
        )
    reached, score = potentials[chosen]
    return LocalCluster(
        seed_vertex, candidates, chosen, reached, score, len(flow.area.vertices), flow.area.edges_read + edges
    )


def _whole_component(graph: Graph, seed_vertex: int, edge_weights: EdgeWeights, edges: int) -> LocalCluster:
    area = Neighbourhood(graph, edge_weights)
    area.touch(seed_vertex)
    local = 0
    while local < len(area.vertices):  # rows of vertices touch further ones, until none is new
        area.row(local)
        local += 1
    vertices = np.array(area.vertices, dtype=np.int64)
    candidate = Candidate(0.0, area.conductance(range(len(vertices))), vertices)
    return LocalCluster(
        seed_vertex, [candidate], 0, vertices, np.ones(len(vertices)), len(vertices), area.edges_read + edges
    )
