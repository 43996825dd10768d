"""How well a vision-language model was adapted to unlabeled images.

Shape legend: U units (images), K classes, M cached images.
"""

from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from tasks.artifacts import Dataset, Metrics, Model, PseudoLabels, Representation
from tasks.curves import curve_table
from tasks.figures import png, subplots
from tasks.metrics.classification import recall_by_class
from tasks.vision_language.cache import votes
from tasks.vision_language.features import features_and_classes

METRICS = {
    "accuracy": "share of images predicted right, last epoch (0..1, higher is better)",
    "mean_class_accuracy": "mean over classes of the share predicted right (0..1, higher is better)",
    "accuracy_best_epoch": "accuracy of the epoch that is best on these very images: never claimed on (0..1)",
    "cache_purity": "share of cached images whose true class is the one they vote for (0..1, higher is better)",
    "pseudo_label_accuracy": "share of the adapters' training images whose pseudo-label is right (0..1, higher is better)",
    "confident_share": "share of unlabeled images whose pseudo-label has a probability above 0.9 (0..1)",
}
_CONFIDENT = 0.9
_SHOWN = 3
_NEIGHBOURS = 8


def adapted_classification(
    dataset: Dataset,
    representation: Representation,
    pseudo_labels: PseudoLabels,
    model: Model,
    *,
    split: Literal["train", "val", "test"] = "test",
    figures: bool = True,
) -> Metrics:
    """Accuracy of the model's `predictions` on one split, and how good the labels were that it was adapted with.

    split: images that are judged; `train` if a method is judged on the unlabeled images themselves (transductive).

    Curves: `recall_by_class`; `accuracy_by_epoch` if the model has predictions of every epoch. Figure: `cached_votes`,
    three images with the eight cached images of most weight.

    Raises ValueError: no image of the split, images without label.
    """
    sample = representation.tables["units"]["sample"].to_numpy()
    units = np.flatnonzero(np.isin(sample, dataset.rows(split)))
    if len(units) == 0:
        raise ValueError(f"representation: no image of split '{split}'")
    truth_U = dataset.labels("label", sample)
    prediction_U = model.tables["predictions"]["prediction"].to_numpy()
    right = prediction_U[units] == truth_U[units]
    classes, recall = recall_by_class(prediction_U[units], truth_U[units])
    cached_KM = np.asarray(pseudo_labels.arrays["cache_units"])
    trained = np.asarray(pseudo_labels.arrays["train_units"])
    unlabeled = np.isin(sample, dataset.rows("train"))
    probability_UK = torch.softmax(torch.from_numpy(np.array(pseudo_labels.arrays["logits"])[unlabeled]), dim=1)
    values = {
        "accuracy": float(right.mean()),
        "mean_class_accuracy": float(recall.mean()),
        "cache_purity": float((truth_U[cached_KM] == np.arange(len(cached_KM))[:, None]).mean()),
        "pseudo_label_accuracy": float((np.asarray(pseudo_labels.arrays["train_labels"]) == truth_U[trained]).mean()),
        "confident_share": float((probability_UK.amax(dim=1) > _CONFIDENT).double().mean()),
    }
    curves = curve_table("recall_by_class", classes, recall)
    epochs = np.asarray(model.arrays.get("epoch_predictions", np.empty((0, len(sample)))))
    if len(epochs):
        by_epoch = (epochs[:, units] == truth_U[units]).mean(axis=1)
        values["accuracy_best_epoch"] = float(by_epoch.max())
        curve = curve_table("accuracy_by_epoch", range(1, len(by_epoch) + 1), by_epoch)
        curves = pd.concat([curves, curve], ignore_index=True)
    drawn = {"cached_votes": _vote_figure(dataset, representation, pseudo_labels, units)} if figures else {}
    return Metrics({"curves": curves}, figures=drawn, meta={"values": values})


def _vote_figure(
    dataset: Dataset, representation: Representation, pseudo_labels: PseudoLabels, units: np.ndarray
) -> bytes:
    """Images, each beside the cached images of most weight; a border tells whether these vote for the true class."""
    sample = representation.tables["units"]["sample"].to_numpy()
    truth_U = dataset.labels("label", sample)
    names = dataset.meta["class_names"]
    feature_UP, text_KP = features_and_classes(representation)
    cached_KM = np.array(pseudo_labels.arrays["cache_units"])
    cached_M, label_M = cached_KM.ravel(), np.repeat(np.arange(len(cached_KM)), cached_KM.shape[1])
    shown = units[np.linspace(0, len(units) - 1, min(_SHOWN, len(units))).astype(int)]
    meta = pseudo_labels.meta
    weight_UM = votes(
        feature_UP[torch.from_numpy(shown)],
        feature_UP[torch.from_numpy(cached_M)],
        text_KP,
        meta["beta"],
        meta["semantic_similarity"],
    ).numpy()
    columns = 1 + min(_NEIGHBOURS, len(cached_M))
    figure, axes = subplots(len(shown), columns, figsize=(1.05 * columns, 1.4 * len(shown)), squeeze=False)
    for line, unit in enumerate(shown):
        _draw(axes[line, 0], dataset, int(sample[unit]), f"true: {names[truth_U[unit]]}", "black")
        best = np.argsort(-weight_UM[line], kind="stable")[: columns - 1]
        for axis, m in zip(axes[line, 1:], best, strict=True):
            colour = "#009E73" if label_M[m] == truth_U[unit] else "#D55E00"
            _draw(axis, dataset, int(sample[cached_M[m]]), f"{names[label_M[m]]}\n{weight_UM[line, m]:.2f}", colour)
    figure.suptitle(
        "Cached images of most weight: the class they vote for (green: the true one), their weight", fontsize=9
    )
    return png(figure)


def _draw(axis: Axes, dataset: Dataset, row: int, title: str, colour: str) -> None:
    image = np.array(dataset.arrays["images"][row])
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=7)
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)
