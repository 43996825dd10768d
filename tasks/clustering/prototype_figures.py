"""Pictures of clusters that stand for prototypes: what is in them, and how evenly they are used.

Shape legend: n samples, K clusters, H, W pixels, C channels.
"""

import numpy as np
from matplotlib.figure import Figure

from tasks.figures import COLOURS, subplots
from tasks.metrics.cluster_sizes import normalised_entropy

CLASS_COLOURS = [*COLOURS[:7], "#882255", "#999933", "#888888"]
SHOWN_PROTOTYPES, SHOWN_MEMBERS = 10, 8


def usage_figure(cluster_n: np.ndarray, class_n: np.ndarray, k: int, class_names: list[str] | None) -> Figure:
    """Bars of cluster sizes, the largest first, stacked by true class; the line is where all would be equal."""
    size_K = np.bincount(cluster_n, minlength=k)
    order_K = np.argsort(-size_K, kind="stable")
    figure, axis = subplots(figsize=(7.2, 3.2))
    bottom = np.zeros(k)
    for index, label in enumerate(np.unique(class_n)):
        count = np.bincount(cluster_n[class_n == label], minlength=k)[order_K]
        name = str(label) if class_names is None else class_names[label]
        axis.bar(range(k), count, bottom=bottom, width=0.9, color=CLASS_COLOURS[index % 10], label=name)
        bottom += count
    axis.axhline(len(cluster_n) / k, color="black", linestyle="--", linewidth=1)
    axis.set(xlabel="prototypes, most used first", ylabel="samples", xticks=[])
    axis.set_title(
        f"{(size_K > 0).sum()} of {k} prototypes used, entropy {normalised_entropy(size_K):.2f} (dashed: equal use)"
    )
    if len(np.unique(class_n)) <= len(CLASS_COLOURS):
        axis.legend(title="class", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def members_figure(images: np.ndarray, membership_nK: np.ndarray) -> Figure:
    """One row per prototype, the most used first: the images with its highest membership."""
    size_K = np.bincount(membership_nK.argmax(axis=1), minlength=membership_nK.shape[1])
    chosen = np.argsort(-size_K, kind="stable")[:SHOWN_PROTOTYPES]
    columns = min(SHOWN_MEMBERS, len(membership_nK))
    members = [np.argsort(-membership_nK[:, prototype], kind="stable")[:columns] for prototype in chosen]
    picture = mosaic([[np.asarray(images[member]) for member in row] for row in members])
    figure, axis = subplots(figsize=(0.62 * columns + 0.9, 0.62 * len(chosen) + 0.5))
    axis.imshow(picture, cmap="gray_r")
    step = picture.shape[0] / len(chosen)
    names = [f"{prototype} ({size_K[prototype]})" for prototype in chosen]
    axis.set_yticks(step * (np.arange(len(chosen)) + 0.5) - 0.5, names)
    axis.set(xticks=[])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("highest codes of the most used prototypes\n(number, images that chose it)", fontsize=9)
    return figure


def mosaic(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Images [H, W, C] in a grid with gaps of an eighth of their side, NaN (white) in them; [h, w] if C is 1."""
    height, width, channels = rows[0][0].shape
    gap = max(1, height // 8)
    shape = (len(rows) * (height + gap), max(map(len, rows)) * (width + gap), channels)
    # Images of whole numbers are shown as shares of 255, so that the gaps can be marked.
    scale = 255 if rows[0][0].dtype == np.uint8 else 1
    grid = np.full(shape, np.nan if channels == 1 else 1.0, dtype=np.float32)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            grid[top : top + height, left : left + width] = image / scale
    return grid[..., 0] if channels == 1 else grid.clip(0, 1)
