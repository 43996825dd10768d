"""A transformer head on frozen feature maps, trained on labels.

Shape legend: U units, B batch, C channels, G side of the pooled map, K classes.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from tasks import progress
from tasks.artifacts import Model, PseudoLabels, Representation, network_of
from tasks.curves import curve_table
from tasks.nn.attention_head import AttentionHead

Count = Annotated[int, Field(ge=1)]


def attention_head(
    representation: Representation,
    pseudo_labels: PseudoLabels,
    *,
    width: Count = 1024,
    heads: Count = 8,
    blocks: Count = 2,
    epochs: Annotated[int, Field(ge=0)] = 28,
    batch_size: Count = 128,
    lr: Annotated[float, Field(gt=0)] = 0.05,
    decay_every: Count = 7,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """The attention head of diffusion features (Mukhopadhyay et al., arXiv 2307.08702; settings of the authors' code).

    SGD without momentum or weight decay, cross-entropy. Features are stored, so there is no random mirroring.

    Parameters
    ----------
    width, heads, blocks: of the transformer. epochs, batch_size, lr: of the training.
    decay_every: the learning rate is divided by 10 every so many epochs. device: cpu or cuda.

    Returns `similarity` float32 [U, K] (probabilities), table `predictions`, networks["head"], table `curves` (`loss`).

    Raises ValueError: features that are no pooled maps (meta `pool`), no labels, `heads` that do not divide `width`.
    """
    if "pool" not in representation.meta:
        raise ValueError("representation: features are no pooled maps (meta 'pool'); use the pretrain step ddpm")
    if width % heads:
        raise ValueError(f"heads: {heads} does not divide width {width}")
    side = int(representation.meta["pool"])
    x_UCGG = torch.from_numpy(np.array(representation.arrays["embedding"])).unflatten(1, (-1, side, side))
    label_U = torch.from_numpy(pseudo_labels.tables["units"]["pseudo_label"].to_numpy().copy())
    rows = np.flatnonzero(label_U.numpy() >= 0)
    if len(rows) == 0:
        raise ValueError("pseudo_labels: no unit has a label")
    classes = int(pseudo_labels.meta["n_clusters"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AttentionHead(x_UCGG.shape[1], side, classes, width, heads, blocks).to(device)
    optimizer = torch.optim.SGD(head.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, decay_every, gamma=0.1)
    rng, losses = np.random.default_rng(seed), []
    for epoch in range(epochs):
        order, total = rng.permutation(rows), 0.0
        for start in range(0, len(order), batch_size):
            batch = torch.from_numpy(order[start : start + batch_size])
            loss = cross_entropy(head(x_UCGG[batch].to(device)), label_U[batch].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        losses.append(total / len(order))
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"loss is {losses[-1]} in epoch {epoch + 1}; lower lr ({lr})")
        progress.report(epoch + 1, epochs, loss=losses[-1])
    head.eval()
    with torch.no_grad():
        parts = [head(part.to(device)).softmax(dim=1).cpu() for part in x_UCGG.split(250)]
    probability_UK = torch.cat(parts).numpy()
    table = pd.DataFrame(
        {
            "sample": pseudo_labels.tables["units"]["sample"],
            "prediction": probability_UK.argmax(axis=1).astype(np.int64),
        }
    )
    config = {
        "channels": x_UCGG.shape[1],
        "side": side,
        "classes": classes,
        "width": width,
        "heads": heads,
        "blocks": blocks,
    }
    return Model(
        {"predictions": table, "curves": curve_table("loss", range(1, len(losses) + 1), losses)},
        {"similarity": probability_UK},
        networks={"head": network_of(head, config)},
    )
