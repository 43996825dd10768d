"""Two adapters on frozen CLIP features, trained on confident pseudo-labels.

Shape legend: U units, B batch, K classes, P projection, E epochs.
"""

import math
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, normalize

from tasks import progress
from tasks.artifacts import Dataset, Model, PseudoLabels, Representation, network_of
from tasks.curves import curve_table
from tasks.vision_language.adapters import Adapters, marginal_loss
from tasks.vision_language.cache import cache_logits
from tasks.vision_language.features import unlabeled_units

Share = Annotated[float, Field(ge=0, le=1)]


def clip_adapter(
    dataset: Dataset,
    representation: Representation,
    pseudo_labels: PseudoLabels,
    *,
    lr: Annotated[float, Field(gt=0)] = 0.012,
    eps: Annotated[float, Field(gt=0)] = 0.003,
    weight_decay: Annotated[float, Field(ge=0)] = 0.1,
    epochs: Annotated[int, Field(ge=0)] = 30,
    warmup_epochs: Annotated[int, Field(ge=0)] = 5,
    batch_size: Annotated[int, Field(ge=1)] = 256,
    threshold: Share = 0.9,
    marginal_weight: Annotated[float, Field(ge=0)] = 0.3,
    text_ratio: Share = 0.5,
    image_ratio: Share = 0.2,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """TFUP-T (Long et al., arXiv 2404.16339): a residual on the class vectors and a bottleneck on the image features.

    First the training images of the pseudo-labels learn their labels. Then all unlabeled images do: a label is what the
    adapted features and the fixed cache say of the plain image, if they are sure; an augmented view learns it, and the
    batch's mean prediction is kept spread over the classes. Predictions are made without the cache.

    Parameters
    ----------
    lr, eps, weight_decay: of AdamW. The rate follows a cosine whose half period is `epochs` times the batches of a
        first-phase epoch; later epochs have more batches, so it rises again a little at the end, as in the authors' code.
    epochs, warmup_epochs: all epochs, and those of the first phase.
    batch_size: images per step.
    threshold: probability above which a pseudo-label is used.
    marginal_weight: of minus the entropy of the batch's mean prediction.
    text_ratio, image_ratio: share of the residual in a class vector, and of the bottleneck in an image feature.
    device: "cpu" or "cuda".

    Each step takes one of the stored augmented views of each image by chance. Returns table `predictions` of all units,
    `logits` float32 [U, K], `epoch_predictions` int16 [E, U], networks["adapters"], table `curves`: `loss`, and in the
    main phase `confident_share` and `marginal` (nats; -ln K if predictions are spread evenly), means of an epoch.

    Raises ValueError: no augmented views, pseudo-labels of another kind, `warmup_epochs` above `epochs`.
    """
    if warmup_epochs > epochs:
        raise ValueError(f"warmup_epochs: {warmup_epochs} is above epochs {epochs}")
    if "views" not in representation.arrays:
        raise ValueError("representation: has no augmented views; set 'augmented_views' of the pretrain step clip")
    if "cache_units" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: no cache; use the pseudo-label step representative_cache")
    plain_UP, views_UVP, text_KP = (
        torch.from_numpy(np.array(representation.arrays[name])).to(device) for name in ("embedding", "views", "text")
    )
    cached_KM = torch.from_numpy(np.array(pseudo_labels.arrays["cache_units"]))
    key_MP = normalize(plain_UP[cached_KM.reshape(-1)], dim=1)
    key_label_M = torch.arange(len(text_KP)).repeat_interleave(cached_KM.shape[1]).to(device)
    settings = {key: pseudo_labels.meta[key] for key in ("alpha", "beta")}
    settings["semantic"] = pseudo_labels.meta["semantic_similarity"]
    warm_units, warm_labels = (np.array(pseudo_labels.arrays[name]) for name in ("train_units", "train_labels"))
    all_units = unlabeled_units(dataset, representation)
    logit_scale = representation.meta["logit_scale"]
    network = Adapters(text_KP, logit_scale, text_ratio, image_ratio, seed).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, eps=eps, weight_decay=weight_decay)
    half_period = epochs * math.ceil(len(warm_units) / batch_size)
    rng = np.random.default_rng(seed)
    history: list[dict[str, float]] = []
    step, predictions = 0, np.empty((epochs, len(plain_UP)), dtype=np.int16)
    for epoch in range(epochs):
        warm = epoch < warmup_epochs
        order = rng.permutation(len(warm_units) if warm else len(all_units))
        parts: list[dict[str, float]] = []
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            units = (warm_units if warm else all_units)[chosen]
            strong_BK = network(views_UVP[units, rng.integers(views_UVP.shape[1], size=len(units))])
            if warm:
                loss = cross_entropy(strong_BK, torch.from_numpy(warm_labels[chosen]).to(device))
                parts.append({"loss": loss.item()})
            else:
                weak_BK = _weak_logits(network, plain_UP[units], key_MP, key_label_M, settings)
                loss, sure, marginal = main_loss(strong_BK, weak_BK, threshold, marginal_weight)
                parts.append({"loss": loss.item(), "confident_share": sure, "marginal": marginal})
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / half_period)) / 2
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
        history.append({name: float(np.mean([part[name] for part in parts])) for name in parts[0]})
        if not math.isfinite(history[-1]["loss"]):
            raise FloatingPointError(f"loss is {history[-1]['loss']} in epoch {epoch + 1}; lower lr ({lr})")
        with torch.no_grad():
            predictions[epoch] = network(plain_UP).argmax(dim=1).cpu().numpy()
        progress.report(epoch + 1, epochs, loss=history[-1]["loss"])
    with torch.no_grad():
        logits_UK = network(plain_UP).cpu().numpy()
    prediction = logits_UK.argmax(axis=1).astype(np.int64)
    table = pd.DataFrame({"sample": representation.tables["units"]["sample"], "prediction": prediction})
    config = {"classes": len(text_KP), "dim": text_KP.shape[1], "logit_scale": logit_scale}
    config |= {"text_ratio": text_ratio, "image_ratio": image_ratio}
    arrays = {"logits": logits_UK, "epoch_predictions": predictions}
    return Model(
        {"predictions": table, "curves": _curves(history)}, arrays, networks={"adapters": network_of(network, config)}
    )


def main_loss(
    strong_BK: torch.Tensor, weak_BK: torch.Tensor, threshold: float, marginal_weight: float
) -> tuple[torch.Tensor, float, float]:
    """Loss of the main phase, the share of confident images, and the marginal term.

    Cross-entropy of the augmented views with the plain images' labels, where those are sure (0 where none is), plus the
    weighted marginal term over all views. No gradient passes through the labels.
    """
    probability_B, label_B = weak_BK.detach().softmax(dim=1).max(dim=1)
    sure_B = probability_B > threshold
    marginal = marginal_loss(strong_BK)
    loss = marginal_weight * marginal
    if bool(sure_B.any()):
        loss = loss + cross_entropy(strong_BK[sure_B], label_B[sure_B])
    return loss, float(sure_B.float().mean()), marginal.item()


@torch.no_grad()
def _weak_logits(
    network: Adapters, plain_BP: torch.Tensor, key_MP: torch.Tensor, label_M: torch.Tensor, settings: dict
) -> torch.Tensor:
    return cache_logits(network.images(plain_BP), key_MP, label_M, network.classes(), **settings)


def _curves(history: list[dict[str, float]]) -> pd.DataFrame:
    tables = [curve_table("loss", [], [])]
    for name in ("loss", "confident_share", "marginal"):
        points = [(epoch, entry[name]) for epoch, entry in enumerate(history, start=1) if name in entry]
        tables.append(curve_table(name, [x for x, _ in points], [y for _, y in points]))
    return pd.concat(tables, ignore_index=True)
