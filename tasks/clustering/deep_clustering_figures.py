"""Pictures of a clustering that a network has learned.

Shape legend: n samples, d code, K clusters, H, W pixels, C channels.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from tasks.artifacts import Network
from tasks.figures import subplots
from tasks.nn.layerwise_autoencoder import autoencoder_from_config, signed_images

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
    figure, axes = subplots(len(clusters), 2, figsize=(5.6, 0.85 * len(clusters) + 0.5), squeeze=False)
    for row, cluster in zip(axes, clusters, strict=True):
        members = np.flatnonzero(label_n == cluster)
        members = members[np.argsort(-confidence_n[members], kind="stable")]
        for axis, chosen in zip(row, (members[:half], members[-half:]), strict=True):
            if len(chosen):
                picture = _over_reconstructions(np.asarray(images[chosen]), autoencoder, half)
                axis.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray_r", vmin=0, vmax=1)
                low, high = confidence_n[chosen].min(), confidence_n[chosen].max()
                axis.set_xlabel(f"p = {low:.2f} to {high:.2f}", fontsize=7, labelpad=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(f"{cluster}\n({size_K[cluster]})", rotation=0, ha="right", va="center", fontsize=8)
    axes[0, 0].set_title("most confident")
    axes[0, 1].set_title("least confident")
    figure.suptitle("images over their reconstructions, a row per cluster (its size)", fontsize=9)
    return figure


@torch.no_grad()
def _over_reconstructions(images_nHWC: np.ndarray, autoencoder: torch.nn.Module, columns: int) -> np.ndarray:
    """[2 H + 1, columns * (W + 1), C] in 0..1, white where nothing is shown."""
    x_nCHW = signed_images(images_nHWC)
    decoded_nCHW = autoencoder.decode(autoencoder(x_nCHW))[0]  # type: ignore[operator]
    pairs = [((v + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy() for v in (x_nCHW, decoded_nCHW)]
    n, height, width, channels = pairs[0].shape
    paper = 0.0 if channels == 1 else 1.0
    picture = np.full((2 * height + 1, columns * (width + 1), channels), paper, dtype=np.float32)
    for index in range(n):
        left = index * (width + 1)
        picture[:height, left : left + width] = pairs[0][index]
        picture[height + 1 :, left : left + width] = pairs[1][index]
    return picture
