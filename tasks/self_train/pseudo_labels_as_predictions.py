"""Pseudo-labels of the test images taken for predictions: what self-training has to beat."""

from typing import Literal

import numpy as np

from tasks.artifacts import Clusters, Dataset, Model, PseudoLabels
from tasks.segmentation.panoptic_inference import predicted_rows, segment_table, segments_of


def pseudo_labels_as_predictions(
    dataset: Dataset,
    clusters: Clusters,
    pseudo_labels: PseudoLabels,
    *,
    source: Literal["fused", "dense"] = "fused",
) -> Model:
    """No training: the pseudo-labels themselves as predictions (the sources that U2Seg, arXiv 2312.17243, compares with).

    Parameters
    ----------
    source: "fused": the panoptic pseudo-labels, instances with score 1; "dense": the dense clusters alone (STEGO), every
        cluster of an image one segment, no instance.

    Returns arrays and table as `panoptic_network` (`rows`, `panoptic`, `semantic`, `masks`, `segments`), without a
    network. Raises ValueError if the pseudo-labels have no panoptic maps.
    """
    thing_clusters, stuff_clusters = (
        int(pseudo_labels.meta["thing_clusters"]),
        int(pseudo_labels.meta["stuff_clusters"]),
    )
    if "panoptic" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: array 'panoptic' is needed and absent; use step 'panoptic_pseudo_labels'")
    rows = predicted_rows(dataset)
    if source == "dense":
        dense = np.asarray(clusters.arrays["dense"][rows])
        panoptic = (dense + 1).astype(np.int32)
        semantic = np.where(dense >= 0, thing_clusters + dense, -1).astype(np.int16)
        masks = np.zeros((0, *dense.shape[1:]), dtype=bool)
        stuff = [
            (int(row), int(s) + 1, thing_clusters + int(s), False, int((dense_HW == s).sum()), 1.0)
            for row, dense_HW in zip(rows, dense, strict=True)
            for s in np.unique(dense_HW[dense_HW >= 0])
        ]
        segments = segment_table(stuff)
    else:
        panoptic = np.array(pseudo_labels.arrays["panoptic"][rows])
        position = np.full(len(dataset.samples), -1)
        position[rows] = np.arange(len(rows))
        every = segments_of(pseudo_labels.tables["segments"])
        every = every.where(np.isin(every.sample, rows))
        every = every.where(np.argsort(~every.is_thing, kind="stable"))
        category_of = np.full((len(rows), every.most), -1, dtype=np.int16)
        category_of[position[every.sample], every.segment] = every.category
        semantic = np.stack([category_of[i][panoptic_HW] for i, panoptic_HW in enumerate(panoptic)])
        things = every.where(every.is_thing)
        masks = panoptic[position[things.sample]] == things.segment[:, None, None]
        segments = segment_table(list(zip(*vars(every).values(), strict=True)))
    arrays = {"rows": rows, "panoptic": panoptic, "semantic": semantic, "masks": masks}
    meta = {"thing_clusters": thing_clusters, "stuff_clusters": stuff_clusters, "source": source}
    return Model({"segments": segments}, arrays, meta=meta)
