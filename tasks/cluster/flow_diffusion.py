"""Local flow diffusion on the plain graph, around each seed vertex."""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from tasks.artifacts import Clusters, Dataset
from tasks.graphs.adjacency import graph_of
from tasks.graphs.edge_weights import plain_weights
from tasks.graphs.flow_diffusion import DiffusionSettings, diffuse
from tasks.graphs.local_cluster import cluster_arrays
from tasks.graphs.queries import draw_queries, measure_of, rng_of
from tasks.progress import report

Mass = Annotated[float, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def flow_diffusion(
    dataset: Dataset,
    *,
    seed_vertices: Count = 10,
    sink: Literal["one", "degree"] = "one",
    mass: Annotated[list[Mass], Field(min_length=1)] = [2.0, 2.5, 3.0, 3.5, 4.0],  # noqa: B006 - read only
    target: Positive | None = None,
    tol: Positive = 1e-3,
    max_passes: Count = 100,
    rounding: Literal["support", "sweep"] = "support",
    overflow: Literal["error", "skip"] = "error",
    seed: int,
) -> Clusters:
    """l2 flow diffusion by random coordinate descent (Fountoulakis, Wang & Yang, ICML 2020, arXiv 2002.09247; the solver
    of Yang & Fountoulakis, ICML 2023, arXiv 2301.13187). Reads the neighbourhoods of the seeds, never the whole graph.

    Parameters
    ----------
    seed_vertices: seed vertices, drawn with `seed` among those with a granted label.
    sink: what a vertex keeps: `one`, mass 1; `degree`, its number of neighbours.
    mass: masses tried at the seed, in multiples of the target's size (`one`) or volume (`degree`). For each the cluster
        is worked out; the one of lowest conductance is kept.
    target: estimate of that size or volume; default: the true one, which the data set grants (an oracle).
    tol: mass above the sink that is let be. max_passes: most passes over the vertices above their sinks, per mass.
    rounding: `support`, the vertices that were filled; `sweep`, the prefix of lowest conductance by potential x.
    overflow: a mass that the seed's component cannot hold is an `error`, or is left out (`skip`).

    Returns sparse arrays, one entry per seed vertex: `seed_vertex`, `target`, `chosen`, `touched`, `edges_read` int64
    [Q]; per mass tried `candidate_mass`, `candidate_conductance` float64 and vertices (`vertex_offset`, `vertex`); for
    the chosen mass the vertices with x > 0 and x (`reached_offset`, `reached` int64, `score` float64). Meta
    `diffusion`: the settings, which `label_flow_diffusion` uses again.

    Raises ValueError: no graph; fewer granted labels than `seed_vertices`; no or an empty target; a mass that cannot be
    held. Warns where a seed has no neighbour, or keeps all mass: its cluster is the vertex alone.
    """
    graph = graph_of(dataset)
    settings = DiffusionSettings(sink, mass, tol, max_passes, rounding, overflow)
    queries = draw_queries(dataset, seed_vertices, seed)
    clusters = []
    for position, query in enumerate(queries):
        measure = measure_of(query, sink, target)
        clusters.append(diffuse(graph, query.vertex, measure, settings, plain_weights(graph), rng_of(seed, position)))
        report(position + 1, len(queries))
    return Clusters(
        arrays=cluster_arrays(clusters),
        meta={"diffusion": asdict(settings), "target": target, "method": "flow_diffusion"},
    )
