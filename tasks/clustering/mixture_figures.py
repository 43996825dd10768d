"""Pictures of Gaussian groups: membership blocks, and ellipses round by round.

Shape legend: n points, p dimensions, K groups, R rounds.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from tasks.figures import COLOURS, subplots


def block_figure(first_Knn: np.ndarray, last_Knn: np.ndarray, truth_n: np.ndarray) -> Figure:
    """The blocks Z_k of the first and the last round as heat maps, points in the order of their true groups."""
    order = np.argsort(truth_n, kind="stable")
    edges = np.flatnonzero(np.diff(truth_n[order])) + 0.5
    blocks = len(last_Knn)
    figure, axes = subplots(2, blocks, figsize=(2.6 * blocks + 0.6, 5.2), squeeze=False)
    top = max(float(first_Knn.max()), float(last_Knn.max()))
    image = None
    for row, (name, z_Knn) in enumerate((("first round", first_Knn), ("last round", last_Knn))):
        for k in range(blocks):
            axis = axes[row, k]
            image = axis.imshow(z_Knn[k][np.ix_(order, order)], cmap="Blues", vmin=0, vmax=top)
            for edge in edges:
                axis.axhline(edge, color=COLOURS[1], linewidth=0.6)
                axis.axvline(edge, color=COLOURS[1], linewidth=0.6)
            axis.set(xticks=[], yticks=[], title=f"group {k}, {name}")
    figure.supxlabel("points, sorted by true group (orange lines)", fontsize=9)
    assert image is not None
    figure.colorbar(image, ax=axes, shrink=0.7, label="entry of Z")
    return figure


def ellipse_figure(
    x_np: np.ndarray, label_n: np.ndarray, truth_n: np.ndarray, mean_RKp: np.ndarray, covariance_RKpp: np.ndarray
) -> Figure:
    """Points on their first two principal axes by cluster, with ellipses of two standard deviations for every round."""
    centre_p = x_np.mean(axis=0)
    axes_p2 = np.linalg.svd(x_np - centre_p, full_matrices=False)[2][:2].T
    axes_p2 *= np.sign(axes_p2[np.abs(axes_p2).argmax(axis=0), [0, 1]])
    flat_n2 = (x_np - centre_p) @ axes_p2
    figure, axis = subplots(figsize=(5.6, 4.8))
    for group in np.unique(truth_n):
        for k in np.unique(label_n):
            member = flat_n2[(truth_n == group) & (label_n == k)]
            axis.scatter(*member.T, s=20, color=COLOURS[int(k) % 8], marker="os^Dv<>P"[int(group) % 8], alpha=0.8)
    rounds = len(mean_RKp)
    for r in range(rounds):
        for k in range(mean_RKp.shape[1]):
            value, vector = np.linalg.eigh(axes_p2.T @ covariance_RKpp[r, k] @ axes_p2)
            width, height = 4 * np.sqrt(np.maximum(value, 0))
            ellipse = Ellipse(
                (mean_RKp[r, k] - centre_p) @ axes_p2, width, height,
                angle=float(np.degrees(np.arctan2(vector[1, 0], vector[0, 0]))), fill=False, edgecolor=COLOURS[k % 8],
                alpha=0.15 + 0.85 * (r + 1) / rounds, linewidth=0.6 + 1.4 * (r + 1) / rounds,
            )  # fmt: skip
            axis.add_patch(ellipse)
    axis.autoscale_view()
    axis.set(xlabel="first principal axis", ylabel="second")
    axis.set_title(f"colour: cluster, shape: true group; ellipses: {rounds} rounds, bolder later")
    return figure
