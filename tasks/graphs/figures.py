"""Pictures of what a local method did around one seed vertex."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from tasks.figures import COLOURS, png, subplots
from tasks.graphs.adjacency import Graph
from tasks.graphs.edge_weights import EdgeWeights
from tasks.graphs.local_cluster import LocalCluster

SHOWN = 45  # vertices of either side: more cannot be told apart
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))

Panel = tuple[str, LocalCluster, EdgeWeights]


def draw_diffusions(graph: Graph, member: np.ndarray, panels: list[Panel]) -> bytes:
    """The same part of the graph once per panel: colour is the score, width of an edge its weight, ringed the cluster.

    `member` bool [n]: the target. Shown are the vertices of the target, and of the others, with the largest scores in
    any panel (after them the first ones by number).
    """
    best: dict[int, float] = {}
    for _, cluster, _ in panels:
        top = cluster.score.max()
        for vertex, score in zip(cluster.reached.tolist(), cluster.score.tolist(), strict=True):
            best[vertex] = max(best.get(vertex, 0.0), score / top)
    ranked = sorted(best, key=lambda v: (-best[v], v))
    inside = [v for v in ranked if member[v]]
    inside += [int(v) for v in np.flatnonzero(member) if int(v) not in best]
    outside = [v for v in ranked if not member[v]]
    seed = panels[0][1].seed_vertex
    inside = [seed, *(v for v in inside if v != seed)]
    place = {**_disc(inside[:SHOWN], 0.0), **_disc(outside[:SHOWN], 2.6)}
    figure, axes = subplots(1, len(panels), figsize=(5.6 * len(panels), 3.4), squeeze=False)
    for axis, (title, cluster, edge_weights) in zip(axes[0], panels, strict=True):
        right = int(member[cluster.vertices].sum())
        _draw(axis, graph, place, cluster, edge_weights)
        axis.set_title(
            f"{title}: {right} of {int(member.sum())} found, {len(cluster.vertices) - right} others in the cluster"
        )
    figure.suptitle(
        f"Vertex {seed} (star). Left its target, {min(SHOWN, len(inside))} of {len(inside)} vertices; "
        f"right {min(SHOWN, len(outside))} of the {len(outside)} other vertices reached"
    )
    return png(figure)


def _disc(vertices: list[int], left: float) -> dict[int, tuple[float, float]]:
    """Vertices on a sunflower spiral of radius 1, the first in its centre."""
    radius = np.sqrt(np.arange(len(vertices)) / max(len(vertices), 1))
    angle = GOLDEN_ANGLE * np.arange(len(vertices))
    return dict(zip(vertices, zip(left + radius * np.cos(angle), radius * np.sin(angle), strict=True), strict=True))


def _draw(
    axis: Axes, graph: Graph, place: dict[int, tuple[float, float]], cluster: LocalCluster, edge_weights: EdgeWeights
) -> None:
    lines, widths, seed = [], [], cluster.seed_vertex
    for vertex in place:
        for other, weight in zip(graph.neighbours(vertex).tolist(), edge_weights(vertex).tolist(), strict=True):
            if other in place and vertex < other:
                lines.append([place[vertex], place[other]])
                widths.append(weight)
    heaviest = max(widths, default=1.0)
    axis.add_collection(LineCollection(lines, linewidths=[0.08 + 0.8 * w / heaviest for w in widths], colors="#9aa3ab"))
    score = dict(zip(cluster.reached.tolist(), (cluster.score / cluster.score.max()).tolist(), strict=True))
    chosen = set(cluster.vertices.tolist())
    xy = np.array(list(place.values()))
    colour = [score.get(v, 0.0) for v in place]
    rings = ["black" if v in chosen else "#c8ccd0" for v in place]
    size = [0 if v == seed else 34 for v in place]
    # The seed's own potential is far above the others': the root keeps these apart.
    drawn = axis.scatter(*xy.T, s=size, c=np.sqrt(colour), cmap="viridis_r", vmin=0, vmax=1, edgecolors=rings, zorder=2)
    axis.scatter(*place[seed], s=150, marker="*", color=COLOURS[1], edgecolors="black", zorder=3)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.spines[:].set_visible(False)
    axis.figure.colorbar(drawn, ax=axis, shrink=0.7, label="root of score / largest score")
