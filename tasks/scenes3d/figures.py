"""Pictures of labelled points seen from above, and bars per class.

Shape legend: N points, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Patch

from tasks.figures import COLOURS, png, subplots
from tasks.segmentation.figures import class_colours


def room_figure(
    points_N3: np.ndarray, pictures: dict[str, np.ndarray], class_names: Sequence[str], height: float = 2.3
) -> bytes:
    """One room in slanted view per entry: colours float [N, 3], or classes int [N] (-1: none). Points above `height`, and
    the nearest walls, are cut away so that the inside shows."""
    colours = class_colours(len(class_names))
    figure, axes = subplots(1, len(pictures), figsize=(2.6 * len(pictures), 2.3), squeeze=False)
    x, y, z = points_N3.T
    inside = (z < height) & (x < x.max() - 0.25) & (y > y.min() + 0.25)
    # An oblique projection: depth shifts up and to the left; what is nearer is drawn later.
    across, up = x - 0.45 * y, z + 0.5 * y
    order = np.flatnonzero(inside)[np.lexsort((z[inside], x[inside] - y[inside]))]
    for axis, (title, values) in zip(axes[0], pictures.items(), strict=True):
        paint = values if values.ndim == 2 else colours[np.where(values < 0, len(class_names), values)]
        axis.scatter(across[order], up[order], c=np.clip(paint[order], 0, 1), s=3.5, linewidths=0)
        axis.set_title(title)
        axis.set_aspect("equal")
        axis.axis("off")
    patches = [Patch(color=colours[i], label=name) for i, name in enumerate(class_names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 8), fontsize=8)
    return png(figure)


def class_figure(iou_C: np.ndarray, share_C: np.ndarray, class_names: Sequence[str]) -> bytes:
    """IoU of every class, with the share of the points that it has."""
    figure, axis = subplots(figsize=(1.2 + 0.62 * len(class_names), 3.0))
    places = np.arange(len(class_names))
    axis.bar(places, np.nan_to_num(iou_C), color=COLOURS[0], width=0.7)
    for place, value in zip(places, iou_C, strict=True):
        label = "absent" if np.isnan(value) else f"{value:.2f}"
        axis.text(float(place), float(np.nan_to_num(value)) + 0.02, label, ha="center", fontsize=7)
    axis.set_xticks(places, [f"{n}\n{100 * s:.0f} %" for n, s in zip(class_names, share_C, strict=True)])
    axis.set(ylabel="IoU", ylim=(0, 1.08))
    axis.set_title("IoU by class (below: share of the points)")
    return png(figure)
