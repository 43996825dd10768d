"""Raw features of points, no training: the floor under every learnt representation."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Representation, network_of
from tasks.nn.sparse_fpn import FpnSettings, SparseFpn
from tasks.scenes3d.clouds import clouds_of, points_in

Feature = Literal["rgb", "normal", "height", "position"]


def point_features(
    dataset: Dataset,
    *,
    use: Annotated[list[Feature], Field(min_length=1)] = ["rgb", "normal", "height"],  # noqa: B006  (never changed)
    net: FpnSettings | None = None,
    seed: int,
) -> Representation:
    """Colour, normal and height above the lowest point of the scene, each standardised over the training scenes.

    Parameters
    ----------
    use: "rgb" (3), "normal" (3), "height" (1), "position" (3, centred in x and y); in this order.
    net: {channels, out} of an untrained sparse network that is passed on, for self-training from scratch; null: none.

    Units are the points; `embedding` float32 [P, d]; meta `voxel`. Raises ValueError for a data set without points.
    """
    clouds = clouds_of(dataset)
    scenes = [clouds.rows(scene) for scene in range(len(dataset.samples))]
    parts = []
    for name in use:
        if name in ("rgb", "normal"):
            parts.append(clouds.rgb if name == "rgb" else clouds.normals)
            continue
        place = np.array(clouds.points, dtype=np.float64)
        for rows in scenes:
            place[rows, :2] -= place[rows, :2].mean(axis=0)
            place[rows, 2] -= place[rows, 2].min()
        parts.append(place if name == "position" else place[:, 2:])
    x_PD = np.concatenate(parts, axis=1, dtype=np.float64)
    train = points_in(dataset, "train")
    x_PD = (x_PD - x_PD[train].mean(axis=0)) / np.maximum(x_PD[train].std(axis=0), 1e-6)
    networks = {}
    if net is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            network = SparseFpn(net)
        networks["backbone"] = network_of(network, network.config())
    units = pd.DataFrame({"unit": np.arange(len(x_PD)), "sample": clouds.scene.astype(np.int64)})
    arrays = {"embedding": x_PD.astype(np.float32)}
    return Representation({"units": units}, arrays, networks, {"voxel": float(dataset.meta["voxel"])})
