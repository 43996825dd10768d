"""Sparse convolution and its feature pyramid, against dense convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch.nn import functional as F

from tasks.nn import sparse_grid
from tasks.nn.sparse_fpn import FpnSettings, SparseConv, SparseFpn, sparse_fpn_from_config
from tasks.nn.sparse_grid import Level, pyramid, unique_cells


def some_cells(seed: int, side: int = 6, count: int = 60, scenes: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unique_cells(np.column_stack([rng.integers(0, scenes, count), rng.integers(0, side, (count, 3))]))[0]


def dense(cells: np.ndarray, x: torch.Tensor, side: int, scenes: int = 2) -> torch.Tensor:
    grid = torch.zeros(scenes, x.shape[1], side, side, side)
    b, i, j, k = torch.from_numpy(cells).T
    grid[b, :, i, j, k] = x
    return grid


def as_kernel(weight: torch.Tensor, side: int) -> torch.Tensor:
    """[K^3, in, out] in the order of offsets -> conv3d's [out, in, K, K, K]."""
    return weight.reshape(side, side, side, *weight.shape[1:]).permute(4, 3, 0, 1, 2)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("table", [True, False])
def test_submanifold_convolution_is_a_dense_one_at_the_voxels(side, table, monkeypatch):
    if not table:
        monkeypatch.setattr(sparse_grid, "_TABLE_MAX", 0)
    cells = some_cells(0)
    torch.manual_seed(0)
    conv, x = SparseConv(4, 5, side**3), torch.randn(len(cells), 4)
    got = conv(x, Level(cells, 1).neighbours(side), len(cells))
    expected = F.conv3d(dense(cells, x, 6), as_kernel(conv.weight, side), padding=side // 2)
    b, i, j, k = torch.from_numpy(cells).T
    assert got.detach().numpy() == pytest.approx(expected[b, :, i, j, k].detach().numpy(), abs=1e-5)


def test_strided_convolution_is_a_dense_one():
    cells = some_cells(1)
    torch.manual_seed(0)
    conv, x = SparseConv(4, 3, 8), torch.randn(len(cells), 4)
    coarse, pairs = Level(cells, 1).halved()
    got = conv(x, pairs, len(coarse.cells_M4))
    expected = F.conv3d(dense(cells, x, 6), as_kernel(conv.weight, 2), stride=2)
    b, i, j, k = torch.from_numpy(coarse.cells_M4).T
    assert got.detach().numpy() == pytest.approx(expected[b, :, i, j, k].detach().numpy(), abs=1e-5)
    assert coarse.stride == 2


def test_gradients_are_those_of_the_dense_convolution():
    cells = some_cells(2)
    conv = SparseConv(2, 3, 27)
    x = torch.randn(len(cells), 2, requires_grad=True)
    conv(x, Level(cells, 1).neighbours(3), len(cells)).square().sum().backward()
    sparse_grads = (x.grad.clone(), conv.weight.grad.clone())
    x.grad, conv.weight.grad = None, None
    b, i, j, k = torch.from_numpy(cells).T
    out = F.conv3d(dense(cells, x, 6), as_kernel(conv.weight, 3), padding=1)
    out[b, :, i, j, k].square().sum().backward()
    for ours, theirs in zip(sparse_grads, (x.grad, conv.weight.grad), strict=True):
        assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-4)


def test_a_voxel_alone_has_no_neighbours():
    pairs = Level(np.array([[0, 0, 0, 0], [0, 4, 0, 0], [1, 1, 0, 0]]), 1).neighbours(3)
    # Neither across a gap nor into the next scene, whose first voxels follow in the order of keys.
    assert [len(out) for out, _ in pairs] == [0] * 13 + [3] + [0] * 13
    out = SparseConv(2, 2, 27)(torch.zeros(3, 2), pairs, 3)
    assert (out == 0).all()


def test_scenes_do_not_touch():
    one, two = some_cells(3, scenes=1), some_cells(4, scenes=1)
    both = np.concatenate([one, two + np.array([1, 0, 0, 0])])
    torch.manual_seed(0)
    conv, x = SparseConv(3, 3, 125), torch.randn(len(both), 3)
    together = conv(x, Level(both, 1).neighbours(5), len(both))
    alone = conv(x[len(one) :], Level(two, 1).neighbours(5), len(two))
    assert together[len(one) :].detach().numpy() == pytest.approx(alone.detach().numpy(), abs=1e-6)


def test_interpolation_is_trilinear_where_all_voxels_exist():
    cells = np.column_stack([np.zeros(64, dtype=np.int64), np.argwhere(np.ones((4, 4, 4)))])
    values = np.random.default_rng(0).random(64)
    points = np.random.default_rng(1).uniform(1, 7, (30, 3))  # in units of half a voxel, between the centres
    weights = Level(cells, 2).interpolation(points, np.zeros(30, dtype=np.int64))
    got = torch.sparse.mm(weights, torch.tensor(values, dtype=torch.float32)[:, None])[:, 0]
    centres = np.arange(4) * 2 + 1.0
    reference = RegularGridInterpolator((centres,) * 3, values.reshape(4, 4, 4))(points)
    assert got.numpy() == pytest.approx(reference, abs=1e-5)


def test_interpolation_weights_sum_to_one_beside_empty_voxels():
    cells = some_cells(5)
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(cells), 40)
    points = (cells[pick, 1:] + rng.random((40, 3))) * 4
    weights = Level(cells, 4).interpolation(points, cells[pick, 0]).to_dense()
    assert weights.sum(dim=1).numpy() == pytest.approx(np.ones(40), abs=1e-6)
    assert weights.min() >= 0
    # The voxel of the point itself has an eighth at least.
    assert weights[np.arange(40), pick].min() >= 0.125 - 1e-6
    with pytest.raises(ValueError, match="lies in no occupied voxel"):
        Level(np.array([[0, 0, 0, 0]]), 1).interpolation(np.array([[1.9, 0.5, 0.5]]), np.array([0]))


def test_pyramid_of_points():
    points = np.random.default_rng(0).uniform(-3, 9, (80, 3))
    grid = pyramid(points, np.zeros(80, dtype=np.int64), 3)
    assert int(grid.count_M.sum()) == 80
    cells = np.floor(points + 1e-4).astype(int)
    same = (cells[:, None] == cells[None]).all(axis=2)
    assert np.array_equal(same, grid.voxel_of_N.numpy()[:, None] == grid.voxel_of_N.numpy()[None])
    with pytest.raises(ValueError, match="an empty cloud"):
        pyramid(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        pyramid(np.array([[0, np.inf, 0]]), np.zeros(1, dtype=np.int64), 1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SparseFpn(FpnSettings(channels=[4, 6, 6], out=5)).eval()


def test_permuted_points_permute_the_features(network):
    rng = np.random.default_rng(0)
    points, x, order = rng.uniform(0, 12, (200, 3)), torch.randn(200, 6), rng.permutation(200)
    scene = np.zeros(200, dtype=np.int64)
    straight = network(x, pyramid(points, scene, 3)).detach().numpy()
    shuffled = network(x[order], pyramid(points[order], scene, 3)).detach().numpy()
    assert shuffled == pytest.approx(straight[order], abs=1e-5)
    assert straight.shape == (200, 5)


def test_whole_voxel_shifts_change_nothing(network):
    points, x, scene = (
        np.random.default_rng(1).uniform(0, 12, (100, 3)),
        torch.randn(100, 6),
        np.zeros(100, dtype=np.int64),
    )
    # Shifts by the coarsest voxel keep every grid.
    before, after = (
        network(x, pyramid(p, scene, 3)).detach().numpy() for p in (points, points + np.array([8, 16, 24]))
    )
    assert after == pytest.approx(before, abs=1e-4)


def test_points_of_one_voxel_are_averaged_before_the_network(network):
    points = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [3.5, 0.5, 0.5]])
    x, scene = torch.randn(3, 6), np.zeros(3, dtype=np.int64)
    merged = torch.stack([x[:2].mean(dim=0), x[2]])
    twice = network(x, pyramid(points, scene, 3))
    once = network(merged, pyramid(points[1:], scene[1:], 3))
    assert twice[[0, 2]].detach().numpy() == pytest.approx(once.detach().numpy(), abs=1e-5)


def test_sizes_of_the_paper_and_rebuilding(network):
    with torch.device("meta"):
        paper = SparseFpn(FpnSettings(channels=[32, 64, 128, 256], out=128))
    convolutions = [m for m in paper.modules() if isinstance(m, SparseConv)]
    assert tuple(convolutions[0].weight.shape) == (125, 6, 32)
    assert [tuple(m.weight.shape) for m in convolutions if len(m.weight) == 8] == [
        (8, 32, 32),
        (8, 32, 32),
        (8, 64, 64),
        (8, 128, 128),
    ]
    assert len(convolutions) == 1 + 4 * (1 + 4)
    assert [layer.in_features for layer in paper.lateral] == [32, 64, 128, 256]
    assert all(layer.bias is None and layer.out_features == 128 for layer in paper.lateral)
    assert {m.momentum for m in paper.modules() if isinstance(m, torch.nn.BatchNorm1d)} == {0.02}
    again = sparse_fpn_from_config(network.config())
    again.load_state_dict(network.state_dict())
