"""The pseudo-label stage of U2Seg."""

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Clusters, Dataset
from tasks.prepare.panoptic_scenes import panoptic_scenes
from tasks.pseudo_label.panoptic_pseudo_labels import panoptic_pseudo_labels


@pytest.fixture(scope="module")
def scenes():
    return panoptic_scenes(n_train=12, n_test=4, image_size=32)


@pytest.fixture(scope="module")
def clusters(scenes):
    """Every second true object as a mask, the true classes as dense clusters, ids permuted."""
    semantic, instance = scenes.arrays["semantic"], scenes.arrays["instance"]
    masks, owner, cluster = [], [], []
    for sample in range(16):
        for number in np.unique(instance[sample][instance[sample] > 0])[::2]:
            masks.append(instance[sample] == number)
            owner.append(sample)
            cluster.append(6 - int(np.median(semantic[sample][masks[-1]])))
    return _clusters(np.stack(masks), owner, cluster, (semantic + 3) % 7)


def _clusters(masks, owner, cluster, dense, things=4, stuff=7):
    units = pd.DataFrame(
        {"unit": np.arange(len(masks)), "cluster": cluster, "sample": owner, "area": masks.sum(axis=(1, 2))}
    )
    arrays = {"masks": masks, "dense": np.asarray(dense, dtype=np.int16)}
    return Clusters({"units": units}, arrays, meta={"thing_clusters": things, "stuff_clusters": stuff})


def test_artifact_survives_disk_and_describes_its_maps(scenes, clusters, tmp_path):
    labels = panoptic_pseudo_labels(scenes.without_truth(), clusters)
    labels.save(tmp_path / "labels")
    read = type(labels).load(tmp_path / "labels")
    assert read.meta["thing_clusters"] == 4
    panoptic, segments = read.arrays["panoptic"], read.tables["segments"]
    assert panoptic.dtype == np.int32
    assert read.arrays["semantic_target"].dtype == np.uint8
    assert sorted(segments["sample"].unique()) == list(range(16))  # test images too
    for row in segments.itertuples():
        assert (panoptic[row.sample] == row.segment).sum() == row.area > 0
        target = np.unique(read.arrays["semantic_target"][row.sample][panoptic[row.sample] == row.segment])
        assert target.tolist() == [0 if row.is_thing else row.category - 4 + 1]
        assert (row.category < 4) == row.is_thing
    numbers = {sample: set(np.unique(panoptic[sample])) - {0} for sample in range(16)}
    assert numbers == {s: set(part["segment"]) for s, part in segments.groupby("sample")}


def test_truth_is_never_read(scenes, clusters):
    rng = np.random.default_rng(0)
    arrays = {k: v if k == "images" else rng.permuted(v, axis=0) for k, v in scenes.arrays.items()}
    shuffled = Dataset(scenes.tables, arrays, meta=scenes.meta)
    one = panoptic_pseudo_labels(scenes, clusters, thing_like_ignore=0.3)
    other = panoptic_pseudo_labels(shuffled, clusters, thing_like_ignore=0.3)
    assert all((one.arrays[k] == other.arrays[k]).all() for k in one.arrays)
    assert one.tables["segments"].equals(other.tables["segments"])


def test_thing_like_is_decided_on_training_images_alone(scenes, clusters):
    plain = panoptic_pseudo_labels(scenes.without_truth(), clusters)
    ignoring = panoptic_pseudo_labels(scenes.without_truth(), clusters, thing_like_ignore=0.3)
    # Classes 3..6 are things: dense clusters 6, 0, 1, 2. Half of their objects have a mask.
    assert ignoring.meta["thing_like"] == [0, 1, 2, 6]
    missed = plain.arrays["semantic_target"] != ignoring.arrays["semantic_target"]
    assert (ignoring.arrays["semantic_target"][missed] == 255).all()
    assert (scenes.arrays["semantic"][missed] >= 3).all()
    assert missed.any()
    assert (plain.arrays["panoptic"] == ignoring.arrays["panoptic"]).all()
    # Masks of test images change nothing: here every one becomes its whole image.
    test = clusters.tables["units"]["sample"].to_numpy() >= 12
    masks = np.where(test[:, None, None], True, clusters.arrays["masks"])
    changed = Clusters(clusters.tables, clusters.arrays | {"masks": masks}, meta=clusters.meta)
    again = panoptic_pseudo_labels(scenes.without_truth(), changed, thing_like_ignore=0.3)
    assert again.meta["thing_like"] == [0, 1, 2, 6]


def test_noise_masks_are_left_out(scenes, clusters):
    units = clusters.tables["units"].assign(cluster=-1)
    labels = panoptic_pseudo_labels(
        scenes.without_truth(), Clusters({"units": units}, clusters.arrays, meta=clusters.meta)
    )
    assert not labels.tables["segments"]["is_thing"].any()


def test_errors(scenes, clusters):
    data, dense = scenes.without_truth(), clusters.arrays["dense"]
    none = np.zeros((0, 32, 32), dtype=bool)
    with pytest.raises(ValueError, match="no mask in the whole data set"):
        panoptic_pseudo_labels(data, _clusters(none, [], [], dense))
    with pytest.raises(ValueError, match="do not fit images"):
        panoptic_pseudo_labels(data, _clusters(np.ones((1, 16, 16), dtype=bool), [0], [0], dense))
    with pytest.raises(ValueError, match="300 dense clusters"):
        panoptic_pseudo_labels(data, _clusters(np.ones((1, 32, 32), dtype=bool), [0], [0], dense, stuff=300))
    table = {"units": clusters.tables["units"].drop(columns="sample")}
    with pytest.raises(ValueError, match="one row with 'sample'"):
        panoptic_pseudo_labels(data, Clusters(table, clusters.arrays, meta=clusters.meta))
    with pytest.raises(ValueError, match="array 'masks' is needed"):
        panoptic_pseudo_labels(data, Clusters(clusters.tables, {"dense": dense}, meta=clusters.meta))
