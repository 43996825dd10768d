"""Pictures of a ranking of features."""

import numpy as np
from matplotlib.figure import Figure

from tasks.figures import COLOURS, subplots


def cardinality_figure(
    cardinality_F: np.ndarray, score_F: np.ndarray, plain_F: np.ndarray, truth_F: np.ndarray | None
) -> Figure:
    """Plain mutual information and the score in use, against the number of values of each feature."""
    figure, axes = subplots(1, 2, figsize=(8.4, 3.4))
    true = np.zeros(len(score_F), dtype=bool) if truth_F is None else truth_F
    for axis, values, title in (
        (axes[0], plain_F, "plain mutual information (nats)"), (axes[1], score_F, "score that ranks"),
    ):  # fmt: skip
        axis.scatter(cardinality_F[~true], values[~true], s=18, color=COLOURS[0], label="other")
        axis.scatter(cardinality_F[true], values[true], s=26, color=COLOURS[1], marker="^", label="informative")
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_xscale("log")
        axis.set(xlabel="values of the feature", title=title)
    if true.any():
        axes[0].legend()
    return figure


def prefix_figure(lengths: np.ndarray, losses: np.ndarray, costs: np.ndarray, chosen: int) -> Figure:
    """Test log-loss and cost of fitting against the number of top features."""
    figure, axes = subplots(1, 2, figsize=(8.4, 3.2))
    for axis, values, title in (
        (axes[0], losses, "test log-loss"),
        (axes[1], costs, "values read by the solver (millions)"),
    ):
        axis.plot(lengths, values, marker="o", markersize=4)
        axis.axvline(chosen, color=COLOURS[1], linestyle="--", linewidth=1, label=f"chosen on train: {chosen}")
        axis.set_xscale("log", base=2)
        axis.set_xticks(lengths, [str(v) for v in lengths])
        axis.minorticks_off()
        axis.set(xlabel="top features", title=title)
    axes[1].set_ylim(bottom=0)
    axes[0].legend()
    return figure


def pair_figure(score_TT: np.ndarray, names: list[str], group_T: np.ndarray) -> Figure:
    """Scores of features with each other in the order of the dendrogram, lines between their groups."""
    shown = score_TT.copy()
    np.fill_diagonal(shown, np.nan)
    top = float(np.nanmax(np.abs(shown))) or 1.0
    side = 2.6 + 0.17 * len(names)
    figure, axis = subplots(figsize=(side + 0.9, side))
    image = axis.imshow(shown, cmap="RdBu_r", vmin=-top, vmax=top)
    for edge in np.flatnonzero(np.diff(group_T)) + 0.5:
        axis.axhline(edge, color="black", linewidth=0.5)
        axis.axvline(edge, color="black", linewidth=0.5)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axis.set_yticks(range(len(names)), names, fontsize=6)
    figure.colorbar(image, ax=axis, shrink=0.7, label="score of one for the other")
    axis.set_title(f"{len(names)} features in {len(np.unique(group_T))} groups (own scores left out)")
    return figure
