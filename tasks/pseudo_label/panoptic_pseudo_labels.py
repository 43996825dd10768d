"""Object masks and dense clusters fused into panoptic pseudo-labels."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tasks import progress
from tasks.artifacts import Clusters, Dataset, PseudoLabels
from tasks.segmentation.fusion import VOID, Fusion, fuse, share_inside

Share = Annotated[float, Field(ge=0, le=1)]


def panoptic_pseudo_labels(
    dataset: Dataset,
    clusters: Clusters,
    *,
    fusion: Fusion = "painted",
    stuff_overlap_max: Share = 0.7,
    thing_like_ignore: Share | None = None,
) -> PseudoLabels:
    """One panoptic pseudo-label per image (U2Seg: Niu et al., CVPR 2024, arXiv 2312.17243, section 3.2).

    Instances are painted by the area of their boxes, the largest first, so that small ones end on top; one that
    is left without a pixel is dropped. Then every dense cluster of the image becomes one stuff segment of its
    uncovered pixels, unless more than `stuff_overlap_max` of the cluster lies inside instances: it is then part
    of an object, and its free pixels stay void. The semantic target has one class for all things.

    Parameters
    ----------
    fusion: "painted" as above; "separate" keeps instances and dense clusters apart (CutLER and STEGO used side by
        side): only instances become segments, and the semantic target keeps every dense cluster.
    stuff_overlap_max: a dense cluster is skipped in images where a larger share of it lies inside instances.
    thing_like_ignore: a dense cluster of which more than this share of all training pixels lies inside instances
        is thing-like; outside instances the semantic target ignores its pixels, else the objects that have no mask
        would be taught as stuff. Not in the paper: its per-image rule `stuff_overlap_max` on the whole data set. null: off.
        It works on the target of either fusion: give it to both arms of a comparison, or to neither.

    Returns `panoptic` int32 [n, H, W] (0 void, else the `segment` of that image), `semantic_target` uint8 [n, H, W]
    (0 thing, 1..K_S stuff, 255 ignored), table `segments` (`category`: thing cluster 0..K_T-1, or K_T + dense
    cluster). All images get labels, so that pseudo-labels can be scored on the test split; only those of the
    training split enter any statistic.

    Raises ValueError if there is no mask at all, if K_S > 254, or if masks and images differ in size or number.
    """
    masks, dense, owner, category = _regions(dataset, clusters)
    thing_clusters, stuff_clusters = int(clusters.meta["thing_clusters"]), int(clusters.meta["stuff_clusters"])
    if stuff_clusters >= VOID:
        raise ValueError(f"clusters: {stuff_clusters} dense clusters, at most {VOID - 1} fit into the semantic target")
    samples, height, width = dense.shape
    thing_like = np.zeros(stuff_clusters, dtype=bool)
    if thing_like_ignore is not None:
        train = dataset.rows("train")
        position = np.full(samples, -1)
        position[train] = np.arange(len(train))
        thing_like = share_inside(masks, position[owner], dense[train], stuff_clusters) > thing_like_ignore
    panoptic = np.zeros((samples, height, width), dtype=np.int32)
    semantic_target = np.zeros((samples, height, width), dtype=np.uint8)
    rows: list[tuple[int, int, int, bool, int]] = []
    for sample in range(samples):
        mine = np.flatnonzero((owner == sample) & (category >= 0))
        fused = fuse(
            np.asarray(masks[mine]),
            category[mine],
            np.asarray(dense[sample]),
            thing_clusters=thing_clusters,
            fusion=fusion,
            stuff_overlap_max=stuff_overlap_max,
            thing_like=thing_like,
        )
        panoptic[sample], semantic_target[sample] = fused.panoptic_HW, fused.semantic_HW
        rows += [(sample, *segment) for segment in fused.segments]
        if (sample + 1) % 100 == 0 or sample + 1 == samples:
            progress.report(sample + 1, samples)
    segments = pd.DataFrame(rows, columns=["sample", "segment", "category", "is_thing", "area"])
    segments = segments.astype(
        {"sample": "int64", "segment": "int64", "category": "int64", "is_thing": bool, "area": "int64"}
    )
    meta = {
        "thing_clusters": thing_clusters,
        "stuff_clusters": stuff_clusters,
        "thing_like": [int(cluster) for cluster in np.flatnonzero(thing_like)],
    }
    return PseudoLabels({"segments": segments}, {"panoptic": panoptic, "semantic_target": semantic_target}, meta=meta)


def _regions(dataset: Dataset, clusters: Clusters) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Masks [M, H, W], dense clusters [n, H, W], owner [M] and cluster [M] of the masks, checked against the images."""
    for name in ("masks", "dense"):
        if name not in clusters.arrays:
            raise ValueError(f"clusters: array '{name}' is needed and absent; use a cluster step that cuts masks")
    masks, dense, units = clusters.arrays["masks"], clusters.arrays["dense"], clusters.tables["units"]
    if len(masks) == 0:
        raise ValueError("clusters: no mask in the whole data set; lower or raise 'tau' of the cluster step")
    if dense.shape != dataset.arrays["images"].shape[:3] or masks.shape[1:] != dense.shape[1:]:
        raise ValueError(
            f"clusters: masks {masks.shape} and dense {dense.shape} do not fit images {dataset.arrays['images'].shape}"
        )
    if len(units) != len(masks) or "sample" not in units:
        raise ValueError(f"clusters: table 'units' must have one row with 'sample' for each of {len(masks)} masks")
    return masks, dense, units["sample"].to_numpy(np.int64), units["cluster"].to_numpy(np.int64)
