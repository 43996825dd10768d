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
    figure, axes = subplots(
        len(chosen), columns, figsize=(0.62 * columns + 0.9, 0.62 * len(chosen) + 0.4), squeeze=False
    )
    for row, prototype in zip(axes, chosen, strict=True):
        members = np.argsort(-membership_nK[:, prototype], kind="stable")[:columns]
        for axis, member in zip(row, members, strict=True):
            image = np.asarray(images[member])
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(f"{prototype}\n({size_K[prototype]})", rotation=0, ha="right", va="center")
    figure.suptitle("highest codes of the most used prototypes\n(number, images that chose it)", fontsize=9)
    return figure
