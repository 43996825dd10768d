"""Which pictures a segmentation is shown with.

Shape legend: T images, H, W pixels, h, w patches, K clusters.
"""

import matplotlib
import numpy as np

from tasks.artifacts import Artifact, Clusters, Dataset, Model, PseudoLabels
from tasks.metrics.mapping import UNMAPPED, Mapped
from tasks.metrics.truth import Truth
from tasks.segmentation.figures import (
    centroid_figure,
    class_colours,
    cut_out,
    over_image,
    painted,
    scene_figure,
    vote_figure,
)
from tasks.segmentation.panoptic_inference import segments_of
from tasks.segmentation.region_features import upsample
from tasks.segmentation.self_training import images_0_1

_NEAREST = 10
_MOST_CLUSTERS = 24


def panoptic_figures(
    dataset: Dataset,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    model: Model,
    truth: Truth,
    mapped: Mapped,
    class_nHW: np.ndarray,
    examples: int,
) -> dict[str, bytes]:
    """`scenes`: image, eigenvector, masks, pseudo-label, prediction, truth; `votes`: clusters against classes;
    `centroids`: the masks nearest to each region centroid."""
    names = dataset.meta["class_names"]
    colours = class_colours(truth.classes)
    rows = np.asarray(model.arrays["rows"])
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(examples, len(rows))).astype(int))
    images = images_0_1(dataset.arrays["images"], rows[chosen])
    units = clusters.tables["units"]
    columns: dict[str, list[np.ndarray]] = {"image": list(images)}
    if "eigenvectors" in clusters.arrays:
        eigenvectors = np.asarray(clusters.arrays["eigenvectors"][rows[chosen]])
        columns["2nd eigenvector"] = [_signed_colours(v_hw, images.shape[1:3]) for v_hw in eigenvectors]
    columns["MaskCut masks"] = []
    for image, row in zip(images, rows[chosen], strict=True):
        mine = np.flatnonzero(units["sample"].to_numpy() == row)
        of_mask = mapped.class_of[units["cluster"].to_numpy()[mine]]
        columns["MaskCut masks"].append(over_image(image, np.asarray(clusters.arrays["masks"][mine]), colours[of_mask]))
    if "panoptic" in pseudo_labels.arrays:
        columns["pseudo-label"] = _painted_rows(pseudo_labels, rows[chosen], rows[chosen], mapped, colours)
    columns["prediction"] = _painted_rows(model, rows[chosen], chosen, mapped, colours)
    instance = truth.instance if truth.instance is not None else np.zeros_like(truth.semantic)
    columns["ground truth"] = [painted(truth.semantic[i].astype(np.int64), instance[i], colours) for i in chosen]
    if truth.instance is None:
        columns["semantic prediction"] = [painted(class_nHW[i], np.zeros_like(class_nHW[i]), colours) for i in chosen]
    figures = {"scenes": scene_figure(columns, names, colours, truth.things)}
    panels = {
        "thing clusters": (mapped.thing_votes, mapped.thing_classes),
        "stuff clusters": (mapped.stuff_votes, mapped.stuff_classes),
    }
    figures["votes"] = vote_figure(panels, names)
    if "region_embedding" in clusters.arrays:
        figures["centroids"] = _centroids(dataset, clusters, mapped, names, colours)
    return figures


def _painted_rows(
    artifact: Artifact, samples: np.ndarray, places: np.ndarray, mapped: Mapped, colours: np.ndarray
) -> list[np.ndarray]:
    """Panoptic maps `places` of an artifact, which belong to `samples`, in the colours of the mapped classes."""
    segments, pictures = segments_of(artifact.tables["segments"]), []
    for sample, place in zip(samples, places, strict=True):
        mine = segments.where((segments.sample == sample) & (segments.segment > 0))
        panoptic_HW = np.asarray(artifact.arrays["panoptic"][place])
        class_of = np.full(int(panoptic_HW.max()) + 1, UNMAPPED)
        outline_of = np.zeros(len(class_of), dtype=np.int64)
        class_of[mine.segment] = mapped.class_of[mine.category]
        outline_of[mine.segment] = np.where(mine.is_thing, mine.segment, 0)
        pictures.append(painted(class_of[panoptic_HW], outline_of[panoptic_HW], colours))
    return pictures


def _signed_colours(v_hw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An eigenvector as RGB [H, W, 3]: 0 is white, the largest value full colour."""
    v_HW = upsample(v_hw, shape[0], shape[1])
    return matplotlib.colormaps["PuOr_r"](0.5 + v_HW / (2 * max(float(np.abs(v_HW).max()), 1e-12)))[..., :3]


def _centroids(dataset: Dataset, clusters: Clusters, mapped: Mapped, names: list[str], colours: np.ndarray) -> bytes:
    units, embedding = clusters.tables["units"], np.asarray(clusters.arrays["region_embedding"])
    shown = np.arange(len(mapped.thing_classes))[:_MOST_CLUSTERS]
    shown = shown[
        np.argsort(np.where(mapped.thing_classes < 0, len(names), mapped.thing_classes)[shown], kind="stable")
    ]
    crops, titles = [], []
    for cluster in shown:
        mine = np.flatnonzero(units["cluster"].to_numpy() == cluster)
        distance = ((embedding[mine] - np.asarray(clusters.arrays["region_centroids"][cluster])) ** 2).sum(axis=1)
        nearest = mine[np.argsort(distance, kind="stable")[:_NEAREST]]
        images = images_0_1(dataset.arrays["images"], units["sample"].to_numpy()[nearest])
        masks = np.asarray(clusters.arrays["masks"][nearest])
        crops.append([cut_out(image, mask) for image, mask in zip(images, masks, strict=True) if mask.any()])
        of_cluster = mapped.thing_classes[cluster]
        titles.append(f"{cluster}  {names[of_cluster] if of_cluster >= 0 else 'unmapped'}")
    return centroid_figure(
        crops, titles, [colours[c].tolist() if c >= 0 else [0.4, 0.4, 0.4] for c in mapped.thing_classes[shown]]
    )
