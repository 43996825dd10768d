"""Feature pyramid of sparse convolutions over voxels, read out at the points (Res16FPN18 of the code of PointDC).

Shape legend: N points, M voxels, C channels, K kernel offsets.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from tasks.nn.sparse_grid import Pairs, Pyramid

Count = Annotated[int, Field(ge=1)]


class FpnSettings(BaseModel):
    """`channels` of the four (or fewer) stages, each at twice the voxel side of the one before; `out`: features per point;
    `momentum` of batch norm's running statistics: the code's 0.02 needs hundreds of steps to forget how they started."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    channels: Annotated[list[Count], Field(min_length=1)] = [16, 24, 32, 48]
    out: Count = 32
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.02


class SparseConv(nn.Module):
    """Convolution over pairs of voxels: out[o] = sum over offsets k of in[i] W_k, for the pairs (o, i) of k. No bias."""

    def __init__(self, before: int, after: int, offsets: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(offsets, before, after))
        nn.init.normal_(self.weight, std=(2 / (offsets * after)) ** 0.5)  # Kaiming, fan-out

    def forward(self, x_MC: torch.Tensor, pairs: Pairs, size: int) -> torch.Tensor:
        """Features [size, after]; a voxel without any neighbour gets zeros."""
        out = x_MC.new_zeros(size, self.weight.shape[2])
        for weight, (into, source) in zip(self.weight, pairs, strict=True):
            if len(into):
                out = out.index_add(0, into, x_MC.index_select(0, source) @ weight)
        return out


class _Normed(nn.Module):
    """A sparse convolution and batch norm."""

    def __init__(self, before: int, after: int, offsets: int, momentum: float):
        super().__init__()
        self.conv, self.norm = SparseConv(before, after, offsets), nn.BatchNorm1d(after, momentum=momentum)

    def forward(self, x_MC: torch.Tensor, pairs: Pairs, size: int) -> torch.Tensor:
        return self.norm(self.conv(x_MC, pairs, size))


class _Residual(nn.Module):
    """conv - BN - ReLU - conv - BN, added to the input (through 1x1 and BN if the width changes), ReLU."""

    def __init__(self, before: int, after: int, momentum: float):
        super().__init__()
        self.first, self.second = _Normed(before, after, 27, momentum), _Normed(after, after, 27, momentum)
        self.skip = (
            nn.Identity()
            if before == after
            else nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after, momentum=momentum))
        )

    def forward(self, x_MC: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        y = torch.relu(self.first(x_MC, pairs, len(x_MC)))
        return torch.relu(self.second(y, pairs, len(x_MC)) + self.skip(x_MC))


class SparseFpn(nn.Module):
    """Point features [N, C_in] and a `Pyramid` -> [N, out].

    A 5^3 convolution at the voxels; stages of [kernel 2, stride 2, batch norm, ReLU, two residual blocks]; each stage is
    brought to `out` channels by a linear map without bias and to the points by trilinear interpolation; the sum of all.
    """

    def __init__(self, settings: FpnSettings, inputs: int = 6):
        super().__init__()
        self.settings, self.inputs = settings, inputs
        channels, momentum = settings.channels, settings.momentum
        self.stem = _Normed(inputs, channels[0], 125, momentum)
        pairs = list(zip([channels[0], *channels[:-1]], channels, strict=True))
        self.down = nn.ModuleList(_Normed(before, before, 8, momentum) for before, _ in pairs)
        self.blocks = nn.ModuleList(
            nn.ModuleList([_Residual(before, after, momentum), _Residual(after, after, momentum)])
            for before, after in pairs
        )
        self.lateral = nn.ModuleList(nn.Linear(after, settings.out, bias=False) for _, after in pairs)

    def config(self) -> dict[str, Any]:
        """JSON from which `sparse_fpn_from_config` builds the network again."""
        return {"arch": "sparse_fpn", "inputs": self.inputs, **self.settings.model_dump()}

    def forward(self, x_NC: torch.Tensor, grid: Pyramid) -> torch.Tensor:
        # Points that share a voxel are averaged.
        sums = x_NC.new_zeros(len(grid.count_M), x_NC.shape[1]).index_add(0, grid.voxel_of_N, x_NC)
        x = torch.relu(self.stem(sums / grid.count_M[:, None], grid.wide, len(sums)))
        out = x.new_zeros(len(x_NC), self.settings.out)
        for level, (down, blocks, lateral) in enumerate(zip(self.down, self.blocks, self.lateral, strict=True)):
            to_points = grid.to_points[level]
            x = torch.relu(down(x, grid.down[level], to_points.shape[1]))
            for block in blocks:  # type: ignore[union-attr]
                x = block(x, grid.same[level])
            out = out + torch.sparse.mm(to_points, lateral(x))
        return out


def sparse_fpn_from_config(config: dict[str, Any]) -> SparseFpn:
    """The network (with fresh weights) that `SparseFpn.config` describes."""
    settings = {name: config[name] for name in FpnSettings.model_fields}
    return SparseFpn(FpnSettings(**settings), config["inputs"])
