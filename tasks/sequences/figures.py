"""Pictures of density clusters of event sequences.

Shape legend: N units, T events.
"""

import difflib

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from tasks.artifacts import Clusters, Dataset, Model, Representation
from tasks.figures import COLOURS, png, subplots

MEMBERS = 15
GREY = "#D0D0D0"


def condensed_tree_figure(clusters: Clusters, table: pd.DataFrame) -> bytes:
    """Condensed tree: width is the number of units left as density grows; selected clusters by share of known bad."""
    tree = clusters.tables["condensed_tree"]
    parent, child = tree["parent"].to_numpy(), tree["child"].to_numpy()
    density, size = tree["density"].to_numpy(), tree["size"].to_numpy()
    n = len(clusters.tables["units"])
    born = {
        int(c): (int(p), float(d), int(s)) for p, c, d, s in zip(parent, child, density, size, strict=True) if c >= n
    }
    below: dict[int, list[int]] = {}
    for c, (p, _, _) in born.items():
        below.setdefault(p, []).append(c)
    left = {n: 0.0}  # where a cluster's units begin, side by side with its sister's
    for p in sorted(below):
        at = left[p]
        for c in below[p]:
            left[c] = at
            at += born[c][2]
    least = float(density[density > 0].min())
    shown = Normalize(0, max(0.5, float(table["share"].max()) if len(table) else 0.5))  # pyright: ignore[reportArgumentType]
    colours = matplotlib.colormaps["YlOrRd"]
    ids = clusters.tables["units"]["cluster"].to_numpy()
    share_of = _shares(tree, table, n, ids)
    figure, axes = subplots(figsize=(9, 4.5))
    for c in [n, *sorted(born)]:
        rows = np.flatnonzero(parent == c)
        rows = rows[np.argsort(density[rows], kind="stable")]
        birth, whole = (born[c][1], born[c][2]) if c in born else (least, n)
        levels = np.maximum(np.concatenate([[birth], density[rows]]), least)
        width = whole - np.concatenate([[0], np.cumsum(size[rows])])
        selected = c in share_of
        # The outline of a selected cluster tells it from the others even where its share is 0.
        axes.fill_betweenx(
            levels, left[c], left[c] + width, step="pre", linewidth=0.8 if selected else 0,
            color=colours(shown(share_of[c])) if selected else GREY, edgecolor=COLOURS[0] if selected else "none",
        )  # fmt: skip
    axes.set(yscale="log", ylabel="density (1 / distance)", xlabel="units", xlim=(0, n))
    axes.invert_yaxis()
    axes.set_title("Condensed tree; outlined: clusters that were selected", loc="left")
    figure.colorbar(matplotlib.cm.ScalarMappable(shown, colours), ax=axes, label="share known to be bad")  # pyright: ignore[reportAttributeAccessIssue]
    return png(figure)


def _shares(tree: pd.DataFrame, table: pd.DataFrame, n: int, cluster_N: np.ndarray) -> dict[int, float]:
    """Share of known bad of every selected cluster of the tree."""
    parent, child = tree["parent"].to_numpy(), tree["child"].to_numpy()
    first = np.full(int(parent.max()) + 1, -1)  # some unit below each cluster of the tree
    points = child < n
    first[parent[points]] = child[points]
    for p, c in sorted(zip(parent[~points].tolist(), child[~points].tolist(), strict=True), reverse=True):
        if first[p] < 0:
            first[p] = first[c]
    share = table["share"].to_numpy()
    return {int(c): float(share[cluster_N[first[c]]]) for c in child[tree["selected"].to_numpy()]}


def strips_figure(
    dataset: Dataset, representation: Representation, clusters: Clusters, table: pd.DataFrame, model: Model
) -> bytes:
    """Event strips of members of the largest risky cluster with a rule, aligned; opacity is attention."""
    risky = table[table["risky"]].sort_values(["size", "cluster"], ascending=[False, True])["cluster"].tolist()  # pyright: ignore[reportCallIssue]
    rules = {rule["cluster"]: rule["text"] for rule in model.meta["rules"]}
    chosen = next((c for c in risky if c in rules), risky[0])
    units = clusters.tables["units"]
    members = np.flatnonzero(units["cluster"].to_numpy() == chosen)[:MEMBERS]
    events = [np.array(dataset.arrays["events"][s]) for s in units["sample"].iloc[members]]
    events = [ids[ids > 0].tolist() for ids in events]
    lengths = [len(ids) for ids in events]
    reference = events[int(np.argsort(lengths, kind="stable")[len(lengths) // 2])]
    palette = [*matplotlib.colormaps["tab20"].colors, *matplotlib.colormaps["tab20b"].colors]  # type: ignore[attr-defined]
    figure, axes = subplots(figsize=(9, 0.3 * len(members) + 1.2))
    for y, (unit, ids) in enumerate(zip(members, events, strict=True)):
        weight = np.array(representation.arrays["attention"][unit])[: len(ids)]
        weight = weight / weight.max()
        for x, t in _aligned(reference, ids):
            axes.barh(y, 0.94, left=x, height=0.86, color=palette[ids[t] % len(palette)], alpha=0.15 + 0.85 * weight[t])
            axes.text(x + 0.47, y, str(ids[t]), ha="center", va="center", fontsize=6)
    axes.set(xlim=(0, len(reference)), ylim=(len(members) - 0.4, -0.6), yticks=[], xticks=[])
    axes.set(xlabel="events, aligned with the member of median length (opacity: attention)", ylabel="members")
    axes.set_title(f"Risky cluster {chosen}: {rules.get(chosen, 'no rule was precise enough')}", loc="left", fontsize=8)
    return png(figure)


def _aligned(reference: list[int], ids: list[int]) -> list[tuple[int, int]]:
    """(column, position) of the events that have a place along the reference; inserted ones have none."""
    places = []
    for _, a0, a1, b0, b1 in difflib.SequenceMatcher(None, reference, ids, autojunk=False).get_opcodes():
        places += zip(range(a0, a1), range(b0, b1), strict=False)
    return places
