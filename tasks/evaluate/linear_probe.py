"""A linear classifier on frozen features, judged class by class.

Shape legend: n samples, D features, C classes.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Metrics, Model
from tasks.curves import curve_table
from tasks.figures import COLOURS, png, subplots
from tasks.nn.ldam import cosines, fit_ldam
from tasks.readers.long_tail import class_sizes

METRICS = {
    "balanced_accuracy": "mean over classes of recall on split test (0..1, higher is better)",
    "accuracy": "share of test samples predicted right (0..1, higher is better)",
    "head_accuracy": "mean recall of classes with more than `head_above` training samples (0..1)",
    "medium_accuracy": "mean recall of classes between head and tail (0..1)",
    "tail_accuracy": "mean recall of classes with fewer than `tail_below` training samples (0..1)",
    "substructure_accuracy": "share of head-class test samples whose hidden sub-structure a linear classifier reads off "
    "the same features (0..1; for data sets that declare `substructure`)",
}

# Ten hues that stay legible as glyphs: the house palette without its yellow, and three more.
GROUP_COLOURS = [*COLOURS[:7], "#882255", "#999933", "#888888"]

Predictor = Callable[[np.ndarray], np.ndarray]


def linear_probe(
    dataset: Dataset,
    model: Model,
    *,
    class_weight: Literal["none", "balanced", "sampling", "ldam"] = "balanced",
    regularization: Annotated[float, Field(gt=0)] = 1.0,
    epochs: Annotated[int, Field(ge=1)] = 200,
    head_above: Annotated[int, Field(ge=0)] = 100,
    tail_below: Annotated[int, Field(ge=0)] = 20,
    figures: bool = True,
    seed: int,
) -> Metrics:
    """Linear evaluation (Chen et al., ICML 2020, arXiv 2002.05709, section 4.2) for classes of unequal size.

    A classifier is fitted on the model's `embedding` float32 [n, D] and the labels granted for split train (all true
    labels of train if the setting grants none), and judged on split test.

    Parameters
    ----------
    class_weight: `none` and `balanced` (classes weigh alike): logistic regression by L-BFGS on standardised features.
        `sampling`: the same on as many rows of each class as the largest has, drawn with replacement. `ldam`: cosine
        classifier with label-distribution-aware margins and class-balanced weights (Cao et al., NeurIPS 2019, arXiv
        1906.07413; Cui et al., CVPR 2019, arXiv 1901.05555), SGD on the features as they are.
    regularization: inverse penalty C of the logistic regression.
    epochs: passes of `ldam`.
    head_above, tail_below: classes with more, respectively fewer, training samples are head and tail. 100 and 20 are
        the usual bounds for CIFAR-LT and ImageNet-LT; a group without classes has no metric.

    Curve `recall_by_class_size`: mean recall (y) of the classes with x training samples. Figures: `subclass_sizes` if the
    model has `subclass` int64 [n] (-1: none), `head_class` if the data set declares the truth `substructure` int64 [n].

    Raises ValueError: an embedding that is not one finite row per sample; a class that train or test lacks.
    """
    embedding = np.array(model.arrays["embedding"], dtype=np.float64)
    if len(embedding) != len(dataset.samples):
        raise ValueError(f"model: {len(embedding)} embeddings for {len(dataset.samples)} samples, not one each")
    if not np.isfinite(embedding).all():
        raise ValueError("model: the embedding has NaN or infinite values")
    train, test = dataset.rows("train"), dataset.rows("test")
    granted = "given_label" in dataset.samples and dataset.samples["given_label"].iloc[train].notna().all()
    y_train, y_test = dataset.labels("given_label" if granted else "label", train), dataset.labels("label", test)
    names = dataset.meta.get("class_names")
    size_C = class_sizes(y_train, None if names is None else len(names), what="labels of train")
    class_sizes(y_test, len(size_C), what="labels of test")
    if class_weight == "ldam":
        predict = _fit_ldam(embedding[train], y_train, epochs, seed)
    else:
        predict = _fit_logistic(embedding[train], y_train, class_weight, regularization, seed)
    right = predict(embedding[test]) == y_test
    recall_C = np.array([right[y_test == c].mean() for c in range(len(size_C))])

    values = {"balanced_accuracy": float(recall_C.mean()), "accuracy": float(right.mean())}
    is_head, is_tail = size_C > head_above, (size_C < tail_below) & (size_C <= head_above)
    for group, members in (("head", is_head), ("medium", ~is_head & ~is_tail), ("tail", is_tail)):
        if members.any():
            values[f"{group}_accuracy"] = float(recall_C[members].mean())
    drawn = {}
    subclass = np.asarray(model.arrays["subclass"])[train] if "subclass" in model.arrays else None
    if subclass is not None and figures:
        drawn["subclass_sizes"] = png(_size_figure(subclass, y_train, size_C))
    if "substructure" in dataset.arrays and is_head.any():
        hidden = np.asarray(dataset.arrays["substructure"])
        in_head, test_head = train[is_head[y_train]], test[is_head[y_test]]
        read = _fit_logistic(embedding[in_head], hidden[in_head], "none", regularization, seed)
        values["substructure_accuracy"] = float((read(embedding[test_head]) == hidden[test_head]).mean())
        if figures:
            largest = int(size_C.argmax())
            rows, title = train[y_train == largest], str(largest) if names is None else names[largest]
            groups = None if subclass is None else subclass[y_train == largest]
            drawn["head_class"] = png(_head_figure(embedding[rows], groups, hidden[rows], title))
    sizes = np.unique(size_C)
    curve = curve_table("recall_by_class_size", sizes, [recall_C[size_C == size].mean() for size in sizes])
    return Metrics(tables={"curves": curve}, meta={"values": values}, figures=drawn)


def _fit_logistic(x_nD: np.ndarray, y_n: np.ndarray, class_weight: str, c: float, seed: int) -> Predictor:
    if class_weight == "sampling":
        rng = np.random.default_rng(seed)
        most = int(np.bincount(y_n).max())
        rows = np.concatenate([rng.choice(np.flatnonzero(y_n == k), most) for k in np.unique(y_n)])
        x_nD, y_n = x_nD[rows], y_n[rows]
    scaler = StandardScaler().fit(x_nD)
    weight = "balanced" if class_weight == "balanced" else None
    logistic = LogisticRegression(C=c, class_weight=weight, max_iter=5000).fit(scaler.transform(x_nD), y_n)
    return lambda x: logistic.predict(scaler.transform(x))


def _fit_ldam(x_nD: np.ndarray, y_n: np.ndarray, epochs: int, seed: int) -> Predictor:
    weight_CD = torch.from_numpy(fit_ldam(x_nD, y_n, epochs=epochs, seed=seed))
    return lambda x: cosines(torch.from_numpy(x.astype(np.float32)), weight_CD).argmax(dim=1).numpy()


def _head_figure(x_nD: np.ndarray, subclass_n: np.ndarray | None, hidden_n: np.ndarray, title: str) -> Figure:
    """The class in its first two principal components, and how its subclasses meet its true sub-structure."""
    pca = PCA(2, svd_solver="full").fit(x_nD)
    xy = pca.transform(x_nD)
    # The sign of a component is arbitrary; fixed, pictures of different arms can be compared.
    xy = xy * np.sign(xy[np.abs(xy).argmax(axis=0), [0, 1]])
    panels = 1 if subclass_n is None else 3
    figure, axes = subplots(1, panels, figsize=(4.1 * panels, 4.2), squeeze=False)
    _scatter(axes[0, 0], xy, hidden_n, hidden_n)
    axes[0, 0].set_title("each sample by its true sub-structure")
    if subclass_n is not None:
        groups, index_n = np.unique(subclass_n, return_inverse=True)
        _scatter(axes[0, 1], xy, hidden_n, index_n)
        axes[0, 1].set_title(f"the same, coloured by its {len(groups)} subclasses")
        _contingency(axes[0, 2], index_n, hidden_n)
    share = pca.explained_variance_ratio_.sum()
    figure.suptitle(f"Class '{title}': {len(xy)} training samples, {share:.0%} of the features' variance")
    return figure


def _scatter(axis: Axes, xy: np.ndarray, glyph_n: np.ndarray, colour_n: np.ndarray) -> None:
    for glyph in np.unique(glyph_n):
        member = glyph_n == glyph
        colours = [GROUP_COLOURS[colour % 10] for colour in colour_n[member]]
        axis.scatter(*xy[member].T, s=38, c=colours, marker=f"${glyph}$", linewidths=0.3)
    axis.set(xticks=[], yticks=[], xlabel="first principal component", ylabel="second")


def _contingency(axis: Axes, subclass_n: np.ndarray, hidden_n: np.ndarray) -> None:
    """Members of each subclass by true sub-structure, subclasses in the order of what most of them show."""
    count_KH = np.zeros((subclass_n.max() + 1, hidden_n.max() + 1), dtype=int)
    np.add.at(count_KH, (subclass_n, hidden_n), 1)
    count_KH = count_KH[np.lexsort((-count_KH.max(axis=1), count_KH.argmax(axis=1)))]
    axis.imshow(count_KH, cmap="Blues", aspect="auto")
    for row, column in np.argwhere(count_KH) if count_KH.size <= 400 else ():
        count = count_KH[row, column]
        axis.text(
            column,
            row,
            str(count),
            ha="center",
            va="center",
            fontsize=8,
            color="w" if count > count_KH.max() / 2 else "k",
        )
    axis.set(xlabel="true sub-structure", ylabel="subclass", xticks=range(count_KH.shape[1]), yticks=[])
    mutual = normalized_mutual_info_score(hidden_n, subclass_n)
    axis.set_title(f"members of each subclass (NMI {mutual:.2f})")


def _size_figure(subclass_n: np.ndarray, label_n: np.ndarray, size_C: np.ndarray) -> Figure:
    """Bars of subclass sizes, classes in order of size, against the smallest class."""
    sizes_of = [np.unique(subclass_n[label_n == c], return_counts=True)[1] for c in np.argsort(-size_C, kind="stable")]
    figure, axis = subplots(figsize=(8.4, 3.2))
    left, ticks = 0, []
    for sizes in sizes_of:
        place = left + np.arange(len(sizes))
        axis.bar(place, -np.sort(-sizes), width=0.9, color=COLOURS[0] if len(sizes) > 1 else COLOURS[1])
        ticks.append(place.mean())
        left += len(sizes) + 1
    axis.bar(0, 0, color=COLOURS[0], label="subclasses of a class that was cut")
    axis.bar(0, 0, color=COLOURS[1], label="class left whole")
    axis.axhline(size_C.min(), color="black", linewidth=1, linestyle="--", label=f"smallest class ({size_C.min()})")
    few = len(ticks) <= 40
    labels = [str(sizes.sum()) for sizes in sizes_of] if few else []
    axis.set_xticks(ticks if few else [], labels)
    axis.set(ylabel="training samples", xlabel="classes, largest first (below each: its training samples)")
    axis.set_ylim(0, 1.3 * max(sizes.max() for sizes in sizes_of))
    axis.legend(ncols=3, loc="upper right")
    cut = np.concatenate([sizes for sizes in sizes_of if len(sizes) > 1] or sizes_of)
    axis.set_title(
        f"{sum(map(len, sizes_of))} subclasses; those of cut classes have {cut.min()} to {cut.max()} samples"
    )
    return figure
