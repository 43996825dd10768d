"""The steps of PointDC, from views to predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.artifacts import Checkpoint, Dataset, Representation
from tasks.cluster.supervoxel_kmeans import supervoxel_kmeans
from tasks.nn.sparse_fpn import FpnSettings
from tasks.prepare.scenes3d_rooms import scenes3d_rooms
from tasks.pretrain.cross_modal_distillation import Fusion, cross_modal_distillation, distillation_loss
from tasks.pretrain.point_features import point_features
from tasks.pseudo_label.hard_labels import hard_labels
from tasks.scenes3d.clouds import points_in
from tasks.scenes3d.pooling import pooled_directions
from tasks.self_train.iterative_self_training import class_logits, iterative_self_training
from tasks.self_train.point_clusters_as_predictions import point_clusters_as_predictions
from tasks.vision.filter_bank import filter_bank

NOTHING = Checkpoint(meta={"step": "none"})
NET = FpnSettings(channels=[4, 6], out=5)
SHORT = {"warmup_epochs": 1, "rounds": 1, "epochs_per_round": 1, "n_init": 1, "max_iter": 5, "seed": 0}


@pytest.fixture(scope="module")
def rooms() -> Dataset:
    return scenes3d_rooms(n_train=2, n_test=1, voxel=0.25, views=4, image_size=[24, 32])


@pytest.fixture(scope="module")
def distilled(rooms) -> Representation:
    return cross_modal_distillation(rooms, NOTHING, image_encoder="filter_bank", net=NET, epochs=2, seed=0)


@pytest.fixture(scope="module")
def labelled(rooms, distilled):
    clusters = supervoxel_kmeans(rooms, distilled, n_clusters=4, seed=0)
    return clusters, hard_labels(rooms, clusters)


@pytest.mark.parametrize(("angle", "expected"), [(0, 0.0), (90, 2.0), (180, 4.0)])
def test_known_losses(angle, expected):
    d = 6
    target = torch.zeros(3, d)
    target[:, 0] = 1
    aligned = torch.zeros(3, d)
    aligned[:, 0], aligned[:, 1] = 5 * np.cos(np.deg2rad(angle)), 5 * np.sin(np.deg2rad(angle))
    assert distillation_loss(aligned, target).item() == pytest.approx(expected / d, abs=1e-6)


def test_points_without_a_target_do_not_count_in_the_loss():
    a, g = torch.randn(5, 4), torch.randn(5, 4)
    g[[1, 3]] = 0
    assert distillation_loss(a, g).item() == pytest.approx(distillation_loss(a[[0, 2, 4]], g[[0, 2, 4]]).item())
    assert distillation_loss(a, torch.zeros(5, 4)).item() == 0


def test_filter_bank_of_a_half_dark_image():
    images = np.zeros((1, 20, 20, 3), dtype=np.float32)
    images[:, :, 10:] = [0.8, 0.4, 0.2]
    features = filter_bank(images)[0]
    assert features.shape == (20, 20, 14)
    assert features[10, 2] == pytest.approx(np.zeros(14), abs=1e-6)
    assert features[10, 17, :3] == pytest.approx([0.8, 0.4, 0.2], abs=1e-6)
    # One third of the window of 3 beside the edge is bright.
    assert features[10, 9, :3] == pytest.approx(np.array([0.8, 0.4, 0.2]) / 3, abs=1e-6)
    assert features[10, 9, 3:6] == pytest.approx(np.array([0.8, 0.4, 0.2]) * np.sqrt(2) / 3, abs=1e-6)
    assert features[10, 9, 6] > 0


def test_distillation(rooms, distilled):
    distilled.check()
    count = len(rooms.arrays["points"])
    assert distilled.arrays["embedding"].shape == (count, 14)
    seen, target = distilled.arrays["seen"], distilled.arrays["target"]
    assert 0.5 < seen.mean() < 1
    assert np.array_equal(np.abs(target).sum(axis=1) > 0, seen)
    assert (np.abs(distilled.arrays["embedding"]).sum(axis=1) > 0).all()  # unseen points are clustered, too
    # The 1x1 layer is dropped.
    assert set(distilled.networks) == {"backbone"}
    assert distilled.tables["curves"]["y"].iloc[-1] < distilled.tables["curves"]["y"].iloc[0]


def test_distillation_depends_on_its_seed_alone(rooms, distilled):
    again, other = (
        cross_modal_distillation(rooms, NOTHING, image_encoder="filter_bank", net=NET, epochs=2, seed=s) for s in (0, 1)
    )
    assert np.array_equal(again.arrays["embedding"], distilled.arrays["embedding"])
    assert not np.array_equal(other.arrays["embedding"], distilled.arrays["embedding"])


def test_standardised_targets(rooms):
    made = cross_modal_distillation(
        rooms, NOTHING, image_encoder="filter_bank", net=NET, fuse=Fusion(standardize=True), epochs=0, seed=0
    )
    rows = np.intersect1d(points_in(rooms, "train"), np.flatnonzero(made.arrays["seen"]))
    target = made.arrays["target"].astype(np.float64)
    assert target[rows].mean(axis=0) == pytest.approx(np.zeros(14), abs=1e-2)
    assert target[rows].std(axis=0) == pytest.approx(np.ones(14), abs=1e-2)
    assert (target[~made.arrays["seen"]] == 0).all()


def test_a_scene_that_no_camera_sees(rooms):
    far = np.array(rooms.arrays["c2w"])
    far[1, :, :, 3] += 100
    dataset = Dataset(rooms.tables, {**rooms.arrays, "c2w": far}, meta=rooms.meta)
    with pytest.raises(ValueError, match="scene 1: no view sees any of its points"):
        cross_modal_distillation(dataset, NOTHING, image_encoder="filter_bank", net=NET, epochs=1, seed=0)


def test_all_targets_zero(rooms):
    black = Dataset(rooms.tables, {**rooms.arrays, "images": np.zeros_like(rooms.arrays["images"])}, meta=rooms.meta)
    with pytest.raises(ValueError, match="every target feature of split 'train' is zero"):
        cross_modal_distillation(black, NOTHING, image_encoder="filter_bank", net=NET, epochs=1, seed=0)


def test_a_data_set_without_views(rooms):
    bare = Dataset(rooms.tables, {n: a for n, a in rooms.arrays.items() if n != "images"}, meta=rooms.meta)
    with pytest.raises(ValueError, match="array 'images' is needed and absent; use a data set with posed views"):
        cross_modal_distillation(bare, NOTHING, image_encoder="filter_bank", net=NET, epochs=1, seed=0)


def test_raw_features(rooms):
    made = point_features(rooms, use=["rgb", "normal", "height", "position"], seed=0)
    x, train = made.arrays["embedding"], points_in(rooms, "train")
    assert x.shape[1] == 10
    assert x[train].mean(axis=0) == pytest.approx(np.zeros(10), abs=1e-4)
    assert x[train].std(axis=0) == pytest.approx(np.ones(10), abs=1e-4)
    assert np.corrcoef(x[train, 6], rooms.arrays["points"][train, 2])[0, 1] > 0.999
    assert made.networks == {}
    states = [point_features(rooms, net=NET, seed=s).networks["backbone"].state["stem.conv.weight"] for s in (0, 0, 1)]
    assert np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


def bundles(rooms: Dataset) -> Representation:
    """Two antipodal bundles of directions, one per half of the super-voxels."""
    rng = np.random.default_rng(0)
    side = np.where(np.asarray(rooms.arrays["supervoxel"]) % 2 == 0, 1.0, -1.0)[:, None]
    x = side * np.array([2.0, 1.0, 0.0]) + rng.normal(0, 0.05, (len(side), 3))
    return Representation(
        {}, {"embedding": (x * rng.uniform(0.1, 10, (len(x), 1))).astype(np.float32)}, meta={"voxel": 0.25}
    )


@pytest.mark.parametrize("pool", ["supervoxel", "none"])
def test_antipodal_bundles_are_split_exactly(rooms, pool):
    clusters = supervoxel_kmeans(rooms, bundles(rooms), n_clusters=2, pool=pool, seed=0)
    label = hard_labels(rooms, clusters).tables["units"]["pseudo_label"].to_numpy()
    half = np.asarray(rooms.arrays["supervoxel"]) % 2
    assert len(np.unique(label[half == 0])) == len(np.unique(label[half == 1])) == 1
    assert len(np.unique(label)) == 2
    assert np.linalg.norm(clusters.arrays["centroids"], axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_every_point_has_the_cluster_of_its_supervoxel(rooms, labelled):
    clusters, labels = labelled
    group = np.asarray(rooms.arrays["supervoxel"])
    assert len(clusters.tables["units"]) == group.max() + 1
    label = labels.tables["units"]["pseudo_label"].to_numpy()
    assert np.array_equal(label, clusters.tables["units"]["cluster"].to_numpy()[group])
    assert np.array_equal(labels.tables["units"]["sample"], rooms.arrays["scene"])


def test_assignment_is_the_largest_cosine_of_pooled_features(rooms, distilled, labelled):
    clusters = labelled[0]
    pooled, _ = pooled_directions(distilled.arrays["embedding"], rooms.arrays["supervoxel"])
    expected = (pooled @ clusters.arrays["centroids"].T).argmax(axis=1)
    assert np.array_equal(clusters.tables["units"]["cluster"], expected)


def test_test_scenes_do_not_place_centroids(rooms, distilled, labelled):
    x = np.array(distilled.arrays["embedding"])
    x[points_in(rooms, "test")] = 1.0
    changed = Representation({}, {"embedding": x}, meta=distilled.meta)
    centroids = supervoxel_kmeans(rooms, changed, n_clusters=4, seed=0).arrays["centroids"]
    assert np.array_equal(centroids, labelled[0].arrays["centroids"])


def test_one_point_per_supervoxel_reproduces_no_supervoxel(rooms, distilled):
    alone = Dataset(
        rooms.tables, {**rooms.arrays, "supervoxel": np.arange(len(rooms.arrays["points"]))}, meta=rooms.meta
    )
    results = []
    for dataset, pool in ((alone, "supervoxel"), (rooms, "none")):
        clusters = supervoxel_kmeans(dataset, distilled, n_clusters=4, pool=pool, n_init=1, seed=0)
        labels = hard_labels(dataset, clusters)
        model = iterative_self_training(dataset, distilled, clusters, labels, final_pool=pool, **SHORT)
        results.append((labels.tables["units"]["pseudo_label"].to_numpy(), model.arrays["rounds"]))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_more_clusters_than_supervoxels(rooms, distilled):
    count = len(np.unique(rooms.arrays["supervoxel"][points_in(rooms, "train")]))
    with pytest.raises(ValueError, match=f"k = {count + 1} is more than the {count} rows"):
        supervoxel_kmeans(rooms, distilled, n_clusters=count + 1, seed=0)


def test_self_training(rooms, distilled, labelled):
    model = iterative_self_training(rooms, distilled, *labelled, **{**SHORT, "rounds": 2})
    model.check()
    rows = points_in(rooms, "test")
    assert np.array_equal(model.arrays["rows"], rows)
    assert model.arrays["rounds"].shape == (4, len(rows))  # first clusters, warm-up, two rounds
    first = labelled[1].tables["units"]["pseudo_label"].to_numpy()[rows]
    assert np.array_equal(model.arrays["rounds"][0], first)
    assert np.array_equal(model.arrays["prediction"], model.arrays["rounds"][-1])
    for prediction in model.arrays["rounds"]:
        group = rooms.arrays["supervoxel"][rows]
        assert all(len(np.unique(prediction[group == g])) == 1 for g in np.unique(group))
    curves = model.tables["curves"]["curve"].value_counts().to_dict()
    assert curves == {"loss": 3, "changed labels against round": 1}


def test_without_training_the_first_clusters_are_predicted(rooms, distilled, labelled):
    model = iterative_self_training(rooms, distilled, *labelled, warmup_epochs=0, rounds=0, seed=0)
    plain = point_clusters_as_predictions(rooms, labelled[1])
    assert np.array_equal(model.arrays["prediction"], plain.arrays["prediction"])
    assert np.array_equal(model.arrays["rows"], plain.arrays["rows"])


def test_the_warm_up_loss_starts_near_log_k(rooms, distilled, labelled):
    """Cosines without temperature lie in -1..1, and the head's weights are random, not centroids."""
    model = iterative_self_training(rooms, distilled, *labelled, **{**SHORT, "rounds": 0}, lr=1e-6)
    assert model.tables["curves"]["y"].iloc[0] == pytest.approx(np.log(4), abs=0.5)


def test_logits():
    h, c = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, -5.0]])
    assert class_logits(h, c, "cosine")[0].tolist() == pytest.approx([0.6, -0.8])
    assert class_logits(h, c, "dot")[0].tolist() == pytest.approx([3, -4])


def test_the_warm_up_learns_fixed_labels_and_moves_the_network(rooms, distilled, labelled):
    model = iterative_self_training(rooms, distilled, *labelled, **{**SHORT, "warmup_epochs": 6, "rounds": 0})
    y = model.tables["curves"]["y"].to_numpy()
    assert y[-1] < y[0]
    before = distilled.networks["backbone"].state["stem.conv.weight"]
    assert not np.array_equal(before, model.networks["backbone"].state["stem.conv.weight"])


def test_test_scenes_are_not_trained_on(rooms, distilled, labelled):
    rgb = np.array(rooms.arrays["rgb"])
    rgb[points_in(rooms, "test")] = 0
    grey = Dataset(rooms.tables, {**rooms.arrays, "rgb": rgb}, meta=rooms.meta)
    before, after = (
        iterative_self_training(d, distilled, *labelled, **SHORT).networks["backbone"].state for d in (rooms, grey)
    )
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_self_training_needs_a_network(rooms, labelled):
    raw = point_features(rooms, seed=0)
    with pytest.raises(ValueError, match="needs a network 'backbone'"):
        iterative_self_training(rooms, raw, *labelled, **SHORT)
