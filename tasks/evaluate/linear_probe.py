"""A linear classifier on frozen features, judged class by class.

Shape legend: n samples, D features, C classes.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Metrics, Model
from tasks.figures import COLOURS, png, subplots
from tasks.nn.ldam import cosines, fit_ldam
from tasks.nn.training import curve_table
from tasks.prepare.long_tail import class_sizes

METRICS = {
    "balanced_accuracy": "mean over classes of recall on split test (0..1, higher is better)",
    "accuracy": "share of test samples predicted right (0..1, higher is better)",
    "head_accuracy": "mean recall of classes with more than `head_above` training samples (0..1)",
    "medium_accuracy": "mean recall of classes between head and tail (0..1)",
    "tail_accuracy": "mean recall of classes with fewer than `tail_below` training samples (0..1)",
    "substructure_accuracy": "share of head-class test samples whose hidden sub-structure a linear classifier reads off "
    "the same features (0..1; for data sets that declare `substructure`)",
}

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
    figures = {}
    subclass = np.asarray(model.arrays["subclass"])[train] if "subclass" in model.arrays else None
    if subclass is not None:
        figures["subclass_sizes"] = png(_size_figure(subclass, y_train, size_C))
    if "substructure" in dataset.arrays and is_head.any():
        hidden = np.asarray(dataset.arrays["substructure"])
        in_head, test_head = train[is_head[y_train]], test[is_head[y_test]]
        read = _fit_logistic(embedding[in_head], hidden[in_head], "none", regularization, seed)
        values["substructure_accuracy"] = float((read(embedding[test_head]) == hidden[test_head]).mean())
        shown = y_train == int(size_C.argmax())
        title = names[int(size_C.argmax())] if names is not None else str(int(size_C.argmax()))
        figures["head_class"] = png(
            _head_figure(
                embedding[train[shown]], None if subclass is None else subclass[shown], hidden[train[shown]], title
            )
        )
    sizes = np.unique(size_C)
    curve = curve_table("recall_by_class_size", sizes, [recall_C[size_C == size].mean() for size in sizes])
    return Metrics(tables={"curves": curve}, meta={"values": values}, figures=figures)


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
    """The class in its first two principal components, by subclass and by true sub-structure."""
    xy = PCA(2, svd_solver="full").fit_transform(x_nD)
    # The sign of a component is arbitrary; fixed, pictures of different arms can be compared.
    xy *= np.sign(xy[np.abs(xy).argmax(axis=0), [0, 1]])
    figure, axes = subplots(1, 2, figsize=(8.4, 3.9), sharex=True, sharey=True)
    left, right = axes
    if subclass_n is None:
        left.scatter(*xy.T, s=14, color="0.6", linewidths=0)
        left.set_title("no subclasses in this arm")
    else:
        _coloured(left, xy, np.unique(subclass_n, return_inverse=True)[1])
        left.set_title(f"coloured by its {len(np.unique(subclass_n))} subclasses")
    _coloured(right, xy, hidden_n)
    right.set_title("coloured by true sub-structure")
    for axis in axes:
        axis.set(xlabel="first principal component", aspect="equal", xticks=[], yticks=[])
    left.set_ylabel("second")
    figure.suptitle(f"Features of class '{title}', {len(xy)} training samples", fontsize=11)
    return figure


def _coloured(axis, xy: np.ndarray, group_n: np.ndarray) -> None:
    markers = "os^D"
    for group in np.unique(group_n):
        member = group_n == group
        colour = COLOURS[int(group) % len(COLOURS)]
        axis.scatter(*xy[member].T, s=16, color=colour, marker=markers[int(group) // len(COLOURS) % 4], linewidths=0)


def _size_figure(subclass_n: np.ndarray, label_n: np.ndarray, size_C: np.ndarray) -> Figure:
    """Bars of subclass sizes, classes in order of size, and the size that a single subclass would have."""
    figure, axis = subplots(figsize=(8.4, 3.2))
    left = 0
    for c in np.argsort(-size_C, kind="stable"):
        sizes = -np.sort(-np.unique(subclass_n[label_n == c], return_counts=True)[1])
        cut = len(sizes) > 1
        axis.bar(left + np.arange(len(sizes)), sizes, width=0.9, color=COLOURS[0] if cut else COLOURS[1])
        left += len(sizes) + 1
    axis.axhline(size_C.min(), color="black", linewidth=1, linestyle="--")
    axis.set(ylabel="training samples", xticks=[], xlabel="subclasses, grouped by class, largest class first")
    return figure
