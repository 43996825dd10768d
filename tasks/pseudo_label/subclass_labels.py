"""Subclasses of labeled classes as pseudo-labels, with a contrastive temperature for each class.

Shape legend: N units, D dimensions, C classes.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation

Percent = Annotated[float, Field(ge=0, le=100)]


def subclass_labels(
    dataset: Dataset,
    representation: Representation,
    clusters: Clusters,
    *,
    class_temperature: Literal["linear", "exp", "constant"] = "linear",
    clip_percentiles: Annotated[list[Percent], Field(min_length=2, max_length=2)] = [20.0, 80.0],  # noqa: B006 (a default)
    constant: Annotated[float, Field(gt=0)] = 0.12,
    temperature: Annotated[float, Field(gt=0)] | None = None,
) -> PseudoLabels:
    """Pseudo-labels and class temperatures of SBCL (Hou et al., ICCV 2023, arXiv 2306.15925).

    The spread of class c is phi_c = mean_i |z_i - mean_c| / log(n_c + 10) over its n_c unit-length embeddings,
    clipped to two percentiles over the classes. A class that is a single subclass keeps `temperature`.

    Parameters
    ----------
    class_temperature: `linear` (as released): t * phi_c / mean phi. `exp` (as printed): t * exp(phi_c / mean phi), looser by
        about a factor e. `constant` (as released for ImageNet-LT): `constant` for every class.
    clip_percentiles: lower and upper percentile, 0..100.
    constant: the temperature of `constant`.
    temperature: t, the temperature of the subclass term; default: what the representation was trained with.

    Returns table `units` (unit, pseudo_label = subclass, sample, given_label = class; subclass -1 where the unit has no class)
    and `class_temperature` float32 [C]; meta `temperature`, and `settings` with which training labels anew.

    Raises ValueError: a subclass with members of two classes, subclass ids that are not 0..K-1, clip percentiles
    that fall, classes without any spread, no temperature to start from.
    """
    if clip_percentiles[0] > clip_percentiles[1]:
        raise ValueError(f"clip_percentiles must not fall, got {clip_percentiles}")
    if temperature is None:
        temperature = representation.meta.get("temperature")
    if temperature is None:
        raise ValueError("temperature: the representation was trained with none; set 'temperature'")
    units = clusters.tables["units"]
    label = dataset.samples["given_label"].iloc[units["sample"].to_numpy()].reset_index(drop=True)
    labeled = np.flatnonzero(label.notna().to_numpy())
    class_N, subclass_N = label.iloc[labeled].to_numpy(dtype=np.int64), units["cluster"].to_numpy()[labeled]
    subclasses_C = check_nesting(class_N, subclass_N)
    temperature_C = np.full(len(subclasses_C), constant)
    if class_temperature != "constant":
        spread_C = class_spread(np.asarray(representation.arrays["embedding"])[labeled], class_N)
        temperature_C = temperatures(spread_C, temperature, class_temperature, clip_percentiles)
        temperature_C[subclasses_C == 1] = temperature
    settings = {
        "class_temperature": class_temperature,
        "clip_percentiles": [float(p) for p in clip_percentiles],
        "constant": constant,
        "temperature": temperature,
    }
    table = units[["unit"]].assign(
        pseudo_label=np.where(label.notna(), units["cluster"], -1), sample=units["sample"], given_label=label
    )
    return PseudoLabels(
        {"units": table},
        {"class_temperature": temperature_C.astype(np.float32)},
        meta={"temperature": temperature, "settings": settings},
    )


def check_nesting(class_N: np.ndarray, subclass_N: np.ndarray) -> np.ndarray:
    """Subclasses of each class, int64 [C]; ValueError unless ids are 0..K-1 and each lies within one class."""
    pairs = np.unique(np.stack([subclass_N, class_N]), axis=1)
    ids, owners = np.unique(pairs[0], return_counts=True)
    if (owners > 1).any():
        raise ValueError(
            f"clusters: cluster {ids[owners > 1][0]} has members of several classes; cluster within classes"
        )
    if not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(f"clusters: ids must be 0..{len(ids) - 1} without gaps, got {ids.min()}..{ids.max()}")
    return np.bincount(pairs[1])


def class_spread(z_ND: np.ndarray, class_N: np.ndarray) -> np.ndarray:
    """phi float64 [C]: mean distance of unit-length rows to their class mean, over log(n_c + 10)."""
    z_ND = np.asarray(z_ND, dtype=np.float64)
    z_ND = z_ND / np.linalg.norm(z_ND, axis=1, keepdims=True)
    groups = [z_ND[class_N == c] for c in range(int(class_N.max()) + 1)]
    distance = [np.linalg.norm(z - z.mean(axis=0), axis=1).mean() for z in groups]
    return concentration(np.array(distance), np.array([len(z) for z in groups]))


def concentration(mean_distance_C: np.ndarray, size_C: np.ndarray) -> np.ndarray:
    """phi_c = mean distance / log(n_c + 10) (Li et al., PCL, ICLR 2021, arXiv 2005.04966, section 3.3)."""
    return mean_distance_C / np.log(size_C + 10)


def temperatures(
    phi_C: np.ndarray, temperature: float, form: Literal["linear", "exp"], clip_percentiles: list[float]
) -> np.ndarray:
    """Temperature of each class from its spread, clipped to percentiles over the classes."""
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    phi_C = np.clip(phi_C, *np.percentile(phi_C, clip_percentiles))
    if not phi_C.min() > 0:
        raise ValueError("representation: all embeddings of a class are equal, so it has no temperature; train longer")
    ratio_C = phi_C / phi_C.mean()
    return temperature * (np.exp(ratio_C) if form == "exp" else ratio_C)
