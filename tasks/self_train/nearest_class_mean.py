"""The rule that carries classes, known and discovered, to new rows: the nearest class mean."""

import numpy as np

from tasks.artifacts import Dataset, Model, PseudoLabels, Representation
from tasks.clustering.kmeans import assign
from tasks.discovery.known_and_novel import class_means, space_of


def nearest_class_mean(dataset: Dataset, representation: Representation, pseudo_labels: PseudoLabels) -> Model:
    """Every row goes to the nearest mean (Mensink et al., IEEE TPAMI 35, 2013) of the pseudo-labelled rows.

    Novel class discovery (Troisemaine et al., arXiv 2311.05440) itself ends with k-means; for k-means clusters the
    means are its centroids, so nothing is added to it. The space is the one that was clustered.

    Returns `class_means` float32 [C_l + k, d] (a label that no row has is left out of the choice and has mean 0),
    `prediction` int64 [n] in 0..C_l+k-1, and `novel_prediction` int64 [n] in 0..k-1, the choice among novel classes
    only. Rows with a pseudo-label of a novel class keep it in `novel_prediction`. meta as the pseudo-labels'.

    Raises ValueError: no row has the pseudo-label of a novel class.
    """
    array = str(pseudo_labels.meta["array"])
    x_ND = space_of(dataset, representation, array)
    pseudo = pseudo_labels.tables["units"]["pseudo_label"].to_numpy()
    n_known = len(pseudo_labels.meta["known_classes"])
    total = n_known + int(pseudo_labels.meta["n_novel"])
    labelled = pseudo >= 0
    present, index = np.unique(pseudo[labelled], return_inverse=True)
    novel = present >= n_known
    if not novel.any():
        raise ValueError("pseudo_labels: no row belongs to a novel class; cluster the novel rows first")
    present_KD = class_means(x_ND[labelled], index, len(present))
    means_KD = np.zeros((total, x_ND.shape[1]), dtype=np.float32)
    means_KD[present] = present_KD
    prediction = present[assign(x_ND, present_KD)]
    novel_prediction = present[novel][assign(x_ND, present_KD[novel])] - n_known
    novel_prediction = np.where(pseudo >= n_known, pseudo - n_known, novel_prediction)
    return Model(
        arrays={
            "class_means": means_KD,
            "prediction": prediction.astype(np.int64),
            "novel_prediction": novel_prediction.astype(np.int64),
        },
        meta={name: pseudo_labels.meta[name] for name in ("known_classes", "n_novel", "array")},
    )
