"""Training on pseudo-labels, and pseudo-labels as predictions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Checkpoint, Clusters, Dataset, Model, Representation
from tasks.nn.training import Optimizer
from tasks.prepare.panoptic_scenes import panoptic_scenes
from tasks.pseudo_label.panoptic_pseudo_labels import panoptic_pseudo_labels
from tasks.segmentation.copy_paste import CopyPaste
from tasks.segmentation.mask2former import QueryNetworkSettings
from tasks.segmentation.panoptic_deeplab import centre_network_from_config
from tasks.segmentation.region_features import masked_means
from tasks.self_train.panoptic_network import panoptic_network
from tasks.self_train.pseudo_labels_as_predictions import pseudo_labels_as_predictions

TINY = QueryNetworkSettings(
    depths=[1, 1, 1, 1], widths=[16, 16, 32, 32], hidden=32, queries=8, layers=[1, 1], heads=2, points=64
)
FAST = Optimizer(name="adamw", lr=1e-2, schedule="one_cycle", warmup=0.15, clip_norm=5.0)


@pytest.fixture(scope="module")
def inputs():
    """Masks are the true objects, thing clusters their classes; dense clusters the true classes with thing pixels
    given to a stuff cluster; patch embeddings are mean colours."""
    scenes = panoptic_scenes(n_train=16, n_test=6, image_size=32, two_stuff=0.0)
    semantic, instance, images = (scenes.arrays[k] for k in ("semantic", "instance", "images"))
    pairs = [(s, n) for s in range(22) for n in np.unique(instance[s]) if n > 0]
    masks = np.stack([instance[s] == n for s, n in pairs])
    owner = np.array([s for s, _ in pairs])
    cluster = np.array([int(np.median(semantic[s][m])) - 3 for (s, _), m in zip(pairs, masks, strict=True)])
    features = images.reshape(22, 8, 4, 8, 4, 3).mean(axis=(2, 4)).astype(np.float32)
    embedding = masked_means(masks, owner, features)
    centroids = np.stack([embedding[cluster == k].mean(axis=0) for k in range(4)])
    dense = np.where(semantic < 3, semantic, 0).astype(np.int16)
    units = pd.DataFrame(
        {"unit": np.arange(len(masks)), "cluster": cluster, "sample": owner, "area": masks.sum((1, 2))}
    )
    arrays = {"masks": masks, "dense": dense, "region_centroids": centroids, "region_embedding": embedding}
    clusters = Clusters(
        {"units": units}, arrays, meta={"thing_clusters": 4, "stuff_clusters": 3, "embed": "masked_mean"}
    )
    sample, row, column = (axis.ravel() for axis in np.indices((22, 8, 8)))
    patches = pd.DataFrame({"unit": np.arange(len(sample)), "sample": sample, "row": row, "column": column})
    representation = Representation(
        {"units": patches}, {"embedding": features.reshape(-1, 3)}, meta={"grid": [8, 8], "patch": 4}
    )
    data = scenes.without_truth()
    return data, Checkpoint(), representation, clusters, panoptic_pseudo_labels(data, clusters)


def _train(inputs, seed=0, **changed):
    settings = {"steps": 4, "batch_size": 4, "channels": [4, 8], "optimizer": FAST} | changed
    return panoptic_network(*inputs, seed=seed, **settings)


def _equal(one: Model, other: Model) -> bool:
    same = all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)
    states = one.networks["network"].state, other.networks["network"].state
    return same and all(np.array_equal(states[0][k], states[1][k]) for k in states[0])


def test_it_learns_the_pseudo_labels(inputs):
    model = _train(inputs, steps=90, batch_size=8, channels=[8, 16], copy_paste=CopyPaste(rate=0.5, scale=[0.5, 1.0]))
    labels, rows = inputs[-1], model.arrays["rows"]
    assert rows.tolist() == list(range(16, 22))
    truth = pseudo_labels_as_predictions(inputs[0], inputs[3], labels)
    assert (model.arrays["semantic"] == truth.arrays["semantic"]).mean() > 0.85
    curves = model.tables["curves"].groupby("curve")["y"]
    assert set(curves.groups) == {"loss", "loss: semantic", "loss: thing class", "loss: centre", "loss: offset"}
    assert (curves.last() < 0.95 * curves.first()).all()
    assert curves.last()["loss"] < 0.4 * curves.first()["loss"]


def test_artifact_survives_disk_and_describes_its_maps(inputs, tmp_path):
    model = _train(inputs, steps=60, batch_size=8)
    model.save(tmp_path / "model")
    read = Model.load(tmp_path / "model")
    segments = read.tables["segments"]
    things = segments[segments["is_thing"]]
    assert len(read.arrays["masks"]) == len(things) > 0
    assert segments["is_thing"].to_numpy()[: len(things)].all()  # masks are indexed by the first rows
    for sample, panoptic in zip(read.arrays["rows"], read.arrays["panoptic"], strict=True):
        mine = segments[(segments["sample"] == sample) & (segments["segment"] > 0)]
        assert set(np.unique(panoptic)) - {0} == set(mine["segment"])
        assert mine["segment"].is_unique
    for mask, (_, row) in zip(read.arrays["masks"], things.iterrows(), strict=True):
        assert mask.sum() == row["area"]
        if row["segment"]:
            place = int(np.flatnonzero(read.arrays["rows"] == row["sample"])[0])
            assert mask[read.arrays["panoptic"][place] == row["segment"]].all()
    network = centre_network_from_config(read.networks["network"].config)
    assert set(network.state_dict()) == set(read.networks["network"].state)
    # Read-only memory maps are good enough to train on.
    for artifact, name in zip(inputs, ("dataset", "checkpoint", "representation", "clusters", "labels"), strict=True):
        artifact.save(tmp_path / name)
    loaded = [
        type(a).load(tmp_path / n)
        for a, n in zip(inputs, ("dataset", "checkpoint", "representation", "clusters", "labels"), strict=True)
    ]
    assert _equal(_train(loaded, copy_paste=CopyPaste()), _train(inputs, copy_paste=CopyPaste()))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"copy_paste": CopyPaste(rate=0.5, scale=[0.5, 1.0])},
        {"classes": "agnostic", "semantic": "none"},
        {"arch": "mask2former", "query_network": TINY, "steps": 2, "drop_loss": True},
    ],
)
def test_equal_seeds_give_equal_bits(inputs, changed):
    one = _train(inputs, **changed)
    assert _equal(one, _train(inputs, **changed))
    assert not _equal(one, _train(inputs, seed=1, **changed))


def test_class_agnostic_masks_are_clustered_afterwards_and_pasted_over_dense_clusters(inputs):
    data, _, representation, clusters, _ = inputs
    labels = panoptic_pseudo_labels(data, clusters, fusion="separate")
    parts = (*inputs[:4], labels)
    model = _train(parts, steps=80, batch_size=8, channels=[8, 16], classes="agnostic", semantic="none")
    config = model.networks["network"].config
    assert (config["semantic"], config["things"]) == (2, 1)
    segments = model.tables["segments"]
    things = segments[segments["is_thing"]]
    assert len(things) > 3
    features = representation.arrays["embedding"].reshape(22, 8, 8, 3)
    embedding = masked_means(model.arrays["masks"], things["sample"].to_numpy(), features)
    distance = ((embedding[:, None] - clusters.arrays["region_centroids"][None]) ** 2).sum(axis=2)
    assert things["category"].tolist() == distance.argmin(axis=1).tolist()
    free = model.arrays["semantic"] >= 4
    dense = clusters.arrays["dense"][model.arrays["rows"]]
    assert (model.arrays["semantic"][free] - 4 == dense[free]).all()


def test_a_second_round_goes_on_with_the_network(inputs):
    one = _train(inputs, steps=40, batch_size=8)
    two = _train(inputs, steps=40, batch_size=8, rounds=2, round_score_min=0.3)
    x = two.tables["curves"].query("curve == 'loss'")["x"]
    assert (x.max(), x.is_monotonic_increasing) == (80, True)
    first = two.tables["curves"].query("curve == 'loss' and x <= 40").reset_index(drop=True)
    assert first.equals(one.tables["curves"].query("curve == 'loss'").reset_index(drop=True))
    agnostic = _train(inputs, rounds=2, classes="agnostic", semantic="none", round_score_min=0.0)
    assert len(agnostic.tables["segments"]) > 0


def test_mask2former_gives_the_same_kind_of_model(inputs, tmp_path):
    model = _train(inputs, arch="mask2former", query_network=TINY, steps=3)
    model.save(tmp_path / "model")
    names = set(Model.load(tmp_path / "model").tables["curves"]["curve"])
    assert names == {"loss", "loss: class", "loss: mask", "loss: dice", "loss: semantic"}
    assert model.networks["network"].config["model_type"] == "mask2former"


def test_errors(inputs):
    data, checkpoint, representation, clusters, labels = inputs
    with pytest.raises(ValueError, match="drop_loss: needs arch 'mask2former'"):
        _train(inputs, drop_loss=True)
    wide = Representation(representation.tables, {"embedding": np.zeros((22 * 64, 5))}, meta=representation.meta)
    with pytest.raises(ValueError, match="3 dimensions with patch embeddings of 5"):
        _train((data, checkpoint, wide, clusters, labels), classes="agnostic")
    with pytest.raises(ValueError, match="does not fit images"):
        _train((Dataset(data.tables, {"images": data.arrays["images"][:, :16]}), *inputs[1:]))
    nothing = labels.tables["segments"].query("not is_thing").reset_index(drop=True)
    with pytest.raises(ValueError, match="no instance in split 'train'"):
        _train((*inputs[:4], replace(labels, tables={"segments": nothing})))
    without = Clusters(clusters.tables, {k: v for k, v in clusters.arrays.items() if k != "dense"}, meta=clusters.meta)
    with pytest.raises(ValueError, match="'none' takes stuff from the dense clusters"):
        _train((*inputs[:3], without, labels), semantic="none")
    with pytest.raises(FloatingPointError, match=r"lower optimizer\.lr"):
        _train(inputs, steps=30, optimizer=Optimizer(name="sgd", lr=1e30))


def test_pseudo_labels_as_predictions(inputs, tmp_path):
    data, _, _, clusters, labels = inputs
    model = pseudo_labels_as_predictions(data, clusters, labels)
    model.save(tmp_path / "model")
    rows = model.arrays["rows"]
    assert (model.arrays["panoptic"] == labels.arrays["panoptic"][rows]).all()
    things = model.tables["segments"].query("is_thing")
    assert (things["score"] == 1).all()
    for mask, row in zip(model.arrays["masks"], things.itertuples(), strict=True):
        assert (mask == (labels.arrays["panoptic"][row.sample] == row.segment)).all()
        assert (model.arrays["semantic"][row.sample - 16][mask] == row.category).all()
    dense = pseudo_labels_as_predictions(data, clusters, labels, source="dense")
    dense.save(tmp_path / "dense")
    assert (dense.arrays["semantic"] - 4 == clusters.arrays["dense"][rows]).all()
    assert not dense.tables["segments"]["is_thing"].any()
    assert dense.tables["segments"]["area"].sum() == 6 * 32 * 32
    with pytest.raises(ValueError, match="array 'panoptic' is needed"):
        pseudo_labels_as_predictions(data, clusters, replace(labels, arrays={}))
