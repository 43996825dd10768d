"""A linear probe on a frozen embedding, for images of several classes or of one.

Shape legend: n samples, D features, C classes.
"""

import warnings
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from tasks.artifacts import Dataset, Metrics, Model, PseudoLabels
from tasks.curves import curve_table
from tasks.figures import COLOURS, png, subplots

METRICS = {
    "map": "mean over classes of average precision on split test (0..1, higher is better)",
    "accuracy": "test samples (label) or test sample-class pairs (presence) predicted right (0..1, higher is better)",
    "mean_cos_pos": "mean cosine of train images with the weights of their positive clusters (-1..1)",
    "mean_cos_neg": "mean cosine of train images with the weights of random other clusters (-1..1)",
}
HELD_OUT = 0.25
EXAMPLE_ROWS, EXAMPLE_COLUMNS = 5, 8

Positive = Annotated[float, Field(gt=0)]


def multilabel_probe(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    targets: Literal["presence", "label"] | None = None,
    regularization: Annotated[list[Positive], Field(min_length=1)] = [0.01, 0.1, 1.0, 10.0],  # noqa: B006 (a default)
    max_iter: Annotated[int, Field(ge=1)] = 1000,
    figures: bool = True,
    seed: int,
) -> Metrics:
    """Linear probe of MLCD (An et al., ECCV 2024, arXiv 2407.17331, table 7): logistic regression by L-BFGS on frozen
    features, as CLIP is probed (Radford et al., ICML 2021, arXiv 2103.00020, appendix A.3).

    The probe is fitted on the labels of split `probe` if the data set has one, else on those of `train`, and judged
    on `test`. Features are the model's `embedding` float32 [n, D], standardised on the split it is fitted on.

    Parameters
    ----------
    targets: `presence` (truth array uint8 [n, C], one-vs-rest) or `label` (one class per sample, multinomial).
        Default: `presence` if the data set has it, else `label`.
    regularization: candidates for the inverse penalty C of scikit-learn's LogisticRegression. Of several, the one
        with the highest map on a held-out quarter is refitted on all.
    max_iter: L-BFGS iterations at most.

    A class that the fitted rows show never or always, or that `test` never shows, is left out of `map`. The
    cosines and the figures need what `nearest_centroids` and `cluster_discrimination` leave behind, and are absent
    otherwise.

    Raises ValueError: no such truth; an embedding that is not one row per sample; no class left to judge.
    """
    if targets is None:
        targets = "presence" if "presence" in dataset.arrays else "label"
    has_probe = bool((dataset.samples["split"] == "probe").any())
    rows = {"fit": dataset.rows("probe" if has_probe else "train"), "test": dataset.rows("test")}
    truth = {name: _truth(dataset, targets, r) for name, r in rows.items()}

    def judge(name: str, features: np.ndarray) -> tuple[np.ndarray, float]:
        if len(features) != len(dataset.samples):
            raise ValueError(f"{name}: {len(features)} embeddings for {len(dataset.samples)} samples, not one each")
        x = {part: np.array(features[r], dtype=np.float64) for part, r in rows.items()}
        chosen = _choose(x["fit"], truth["fit"], regularization, max_iter, np.random.default_rng(seed))
        return probe_scores(x["fit"], truth["fit"], x["test"], truth["test"], chosen, max_iter)

    precision_C, accuracy = judge("model", model.arrays["embedding"])
    known = np.flatnonzero(np.isfinite(precision_C))
    if len(known) == 0:
        raise ValueError("dataset: no class has examples and counter-examples where the probe is fitted and in test")
    values = {"map": float(precision_C[known].mean()), "accuracy": accuracy}
    drawn = {}
    for metric, sign in (("mean_cos_pos", "positive"), ("mean_cos_neg", "negative")):
        cosine = model.arrays.get(f"cosine_{sign}_after", np.empty(0))
        if len(cosine):
            values[metric] = float(np.mean(cosine, dtype=np.float64))
    if "mean_cos_pos" in values and figures:
        drawn["cosines"] = _cosine_figure(model)
    if figures and {"nearest", "similarity"} <= set(pseudo_labels.arrays) and "images" in dataset.arrays:
        drawn["positive_clusters"] = _cluster_figure(dataset, pseudo_labels, targets)
    curves = curve_table("average precision against class", known, precision_C[known])
    return Metrics(tables={"curves": curves}, meta={"values": values}, figures=drawn)


def probe_scores(
    x_fit: np.ndarray, truth_fit: np.ndarray, x_test: np.ndarray, truth_test: np.ndarray, c: float, max_iter: int
) -> tuple[np.ndarray, float]:
    """Average precision of each class [C] (NaN: not judged) and accuracy of a logistic regression with penalty 1 / c.

    `truth` is [n, C] of 0 and 1 (one-vs-rest, accuracy over all pairs) or int64 [n] (multinomial).
    """
    scaler = StandardScaler().fit(x_fit)
    x_fit, x_test = np.asarray(scaler.transform(x_fit)), np.asarray(scaler.transform(x_test))
    multilabel = truth_fit.ndim == 2
    n_classes = truth_fit.shape[1] if multilabel else int(max(truth_fit.max(), truth_test.max())) + 1
    # A class without a model scores as absent everywhere, or as present if every fitted row shows it.
    score = np.full((len(x_test), n_classes), -np.inf)
    judged = np.zeros(n_classes, dtype=bool)
    with warnings.catch_warnings():
        # `max_iter` is the protocol's budget, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if multilabel:
            for k in range(n_classes):
                if truth_fit[:, k].min() == truth_fit[:, k].max():
                    score[:, k] = np.inf if truth_fit[0, k] else -np.inf
                    continue
                judged[k] = True
                fitted = LogisticRegression(C=c, max_iter=max_iter).fit(x_fit, truth_fit[:, k])
                score[:, k] = np.asarray(fitted.decision_function(x_test))
            accuracy = float(((score > 0) == truth_test).mean())
        else:
            classes = np.unique(truth_fit)
            if len(classes) < 2:
                score[:, classes] = 1
            else:
                judged[classes] = True
                fitted = LogisticRegression(C=c, max_iter=max_iter).fit(x_fit, truth_fit)
                score[:, classes] = fitted.predict_proba(x_test)
            accuracy = float((score.argmax(axis=1) == truth_test).mean())
    positive = truth_test.astype(bool) if multilabel else truth_test[:, None] == np.arange(n_classes)
    judged &= positive.any(axis=0)
    precision = [
        average_precision_score(positive[:, k], score[:, k]) if judged[k] else np.nan for k in range(n_classes)
    ]
    return np.array(precision), accuracy


def _choose(
    x: np.ndarray, truth: np.ndarray, candidates: list[float], max_iter: int, rng: np.random.Generator
) -> float:
    if len(candidates) == 1 or len(x) < 2:
        return candidates[0]
    held, kept = np.split(rng.permutation(len(x)), [max(1, round(HELD_OUT * len(x)))])
    precision = np.array([probe_scores(x[kept], truth[kept], x[held], truth[held], c, max_iter)[0] for c in candidates])
    judged = np.isfinite(precision).all(axis=0)
    return candidates[int(precision[:, judged].mean(axis=1).argmax())] if judged.any() else candidates[0]


def _truth(dataset: Dataset, targets: str, rows: np.ndarray) -> np.ndarray:
    if targets == "label":
        return dataset.labels("label", rows)
    if "presence" not in dataset.arrays:
        raise ValueError("targets: the data set has no array 'presence'; set targets to label")
    presence = np.array(dataset.arrays["presence"][rows])
    if presence.ndim != 2 or not np.isin(presence, (0, 1)).all():
        raise ValueError("dataset: 'presence' must be [n, C] of 0 and 1")
    return presence


def _cosine_figure(model: Model) -> bytes:
    figure, axes = subplots(1, 2, figsize=(7, 2.6), sharex=True)
    axes = np.ravel(np.array(axes))
    for axis, when in zip(axes, ("before", "after"), strict=True):
        for sign, colour in (("negative", COLOURS[1]), ("positive", COLOURS[0])):
            cosine = model.arrays.get(f"cosine_{sign}_{when}", np.empty(0))
            if len(cosine):
                bins = np.linspace(-1, 1, 81)
                axis.hist(cosine, bins=bins, density=True, color=colour, alpha=0.6, label=f"{sign} clusters")
                axis.axvline(float(np.mean(cosine)), color=colour, linewidth=1)
        axis.set(title=f"{when} training", xlabel="cosine with class weight", xlim=(-1, 1), yticks=[])
    axes[0].set_ylabel("density")
    axes[0].legend(loc="upper left", frameon=False, fontsize=8)
    return png(figure)


def _cluster_figure(dataset: Dataset, pseudo_labels: PseudoLabels, targets: str) -> bytes:
    """Some train images, each beside the most typical image of each of its nearest clusters (figure 7 of the paper)."""
    nearest, similarity = np.array(pseudo_labels.arrays["nearest"]), np.array(pseudo_labels.arrays["similarity"])
    train = dataset.rows("train")
    shown = train[np.linspace(0, len(train) - 1, min(EXAMPLE_ROWS, len(train))).astype(int)]
    columns = 1 + min(nearest.shape[1], EXAMPLE_COLUMNS)
    axis: Any
    figure, axis = subplots(figsize=(0.1 + 0.95 * columns, 1.15 * len(shown)))
    for line, row in enumerate(shown):
        _draw(axis, dataset, targets, row, line, 0, "image", COLOURS[0])
        for column in range(1, columns):
            cluster = nearest[row, column - 1]
            # Typical: nearest to the centroid among train images of which this is the first cluster, else any.
            fits = np.where(nearest[train] == cluster, similarity[train], -np.inf)
            fits[:, 0] += 2
            best = np.where(train == row, -np.inf, fits.max(axis=1))
            if np.isfinite(best.max()):
                title = f"cos {similarity[row, column - 1]:.2f}"
                _draw(axis, dataset, targets, train[best.argmax()], line, column, title, "none")
    axis.set(xlim=(-0.03, columns), ylim=(1.3 * len(shown), -0.2))
    axis.set_axis_off()
    return png(figure)


def _draw(axis: Any, dataset: Dataset, targets: str, row: int, line: int, column: int, title: str, frame: str) -> None:
    """One sample with its true classes below; a cell is 1 wide and 1.3 high."""
    image = np.array(dataset.arrays["images"][row])
    left, right, top, bottom = column + 0.03, column + 0.97, 1.3 * line, 1.3 * line + 0.94
    limits = {} if image.dtype == np.uint8 else {"vmin": 0, "vmax": 1}
    picture = image.squeeze(-1) if image.shape[-1] == 1 else image.clip(0, None)
    axis.imshow(picture, cmap="gray", extent=(left, right, bottom, top), aspect="auto", **limits)
    axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=frame, linewidth=2.5)
    names = dataset.meta.get("class_names")
    truth = _truth(dataset, targets, np.array([row]))[0]
    classes = np.flatnonzero(truth) if targets == "presence" else [truth]
    below = " ".join(names[c] if names else str(c) for c in classes)
    axis.text(column + 0.5, top - 0.02, title, fontsize=7, ha="center", va="bottom")
    axis.text(column + 0.5, bottom + 0.02, below, fontsize=7, ha="center", va="top")
