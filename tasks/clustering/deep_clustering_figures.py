"""Pictures of a clustering that a network has learned.

Shape legend: n samples, d code, K clusters, H, W pixels, C channels.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from tasks.artifacts import Network
from tasks.clustering.prototype_figures import mosaic
from tasks.figures import subplots
from tasks.nn.layerwise_autoencoder import LayerwiseAutoencoder, autoencoder_from_config, signed_images

SHOWN_CLUSTERS, SHOWN_IMAGES, SHOWN_POINTS = 10, 10, 4000

Codes = tuple[np.ndarray, np.ndarray]


def codes_figure(before: Codes, after: Codes) -> Figure:
    """Two panels of codes [n, d] in their first two principal components, coloured by cluster [n], crosses are means."""
    figure, axes = subplots(1, 2, figsize=(8.4, 4.2))
    for axis, title, (codes_nd, cluster_n) in zip(
        axes, ("codes before self-training", "codes after self-training"), (before, after), strict=True
    ):
        _scatter(axis, codes_nd, cluster_n)
        axis.set_title(title)
    figure.suptitle("first two principal components, colours: clusters, crosses: their means", fontsize=9)
    return figure


def _scatter(axis: Axes, codes_nd: np.ndarray, cluster_n: np.ndarray) -> None:
    pca = PCA(min(2, codes_nd.shape[1]), svd_solver="full").fit(codes_nd)
    xy = np.zeros((len(codes_nd), 2))
    xy[:, : pca.n_components_] = pca.transform(codes_nd)
    shown = np.arange(0, len(xy), -(-len(xy) // SHOWN_POINTS))
    axis.scatter(
        *xy[shown].T,
        c=cluster_n[shown],
        cmap="tab10" if cluster_n.max() < 10 else "tab20",
        s=7,
        alpha=0.6,
        linewidths=0,
    )
    for cluster in np.unique(cluster_n):
        centre = xy[cluster_n == cluster].mean(axis=0)
        axis.plot(*centre, "+", color="black", markersize=9, markeredgewidth=1.6)
    axis.set(xticks=[], yticks=[])


def confidence_figure(images: np.ndarray, probability_nK: np.ndarray, network: Network) -> Figure:
    """One row per cluster: its most and its least confident images, each over its reconstruction."""
    probability_nK = np.asarray(probability_nK)
    label_n, confidence_n = probability_nK.argmax(axis=1), probability_nK.max(axis=1)
    size_K = np.bincount(label_n, minlength=probability_nK.shape[1])
    clusters = np.argsort(-size_K, kind="stable")[:SHOWN_CLUSTERS]
    autoencoder = autoencoder_from_config(network.config, network.state)
    half = SHOWN_IMAGES // 2
    figure, axes = subplots(1, 2, figsize=(6.4, 0.8 * len(clusters) + 0.6), sharey=True)
    of_cluster = [np.flatnonzero(label_n == cluster) for cluster in clusters]
    of_cluster = [members[np.argsort(-confidence_n[members], kind="stable")] for members in of_cluster]
    for axis, part, title in zip(
        axes, (slice(half), slice(-half, None)), ("most confident", "least confident"), strict=True
    ):
        rows: list[list[np.ndarray]] = []
        for members in of_cluster:
            rows += _and_reconstructions(images, members[part], autoencoder)
        axis.imshow(mosaic(rows), cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(f"{title} (p = {_range(confidence_n, of_cluster, part)})")
        axis.set(xticks=[])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    step = axes[0].get_images()[0].get_size()[0] / len(clusters)
    axes[0].set_yticks(step * (np.arange(len(clusters)) + 0.5) - 0.5, [f"{c} ({size_K[c]})" for c in clusters])
    figure.suptitle("images over their reconstructions, two rows per cluster (its size)", fontsize=9)
    return figure


def _range(confidence_n: np.ndarray, of_cluster: list[np.ndarray], part: slice) -> str:
    shown = np.concatenate([confidence_n[members[part]] for members in of_cluster])
    return f"{shown.min():.2f} to {shown.max():.2f}"


@torch.no_grad()
def _and_reconstructions(
    images: np.ndarray, chosen: np.ndarray, autoencoder: LayerwiseAutoencoder
) -> list[list[np.ndarray]]:
    """A row of images [H, W, C] in 0..1 and a row of what the clean path makes of them."""
    x_nCHW = signed_images(np.asarray(images[chosen]))
    decoded_nCHW = autoencoder.decode(autoencoder(x_nCHW))[0]
    return [list(((v + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy()) for v in (x_nCHW, decoded_nCHW)]
