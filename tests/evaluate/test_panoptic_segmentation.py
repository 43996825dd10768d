"""Instance, semantic and panoptic metrics of one model."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.artifacts import Clusters, Dataset, Metrics
from tasks.evaluate.panoptic_segmentation import METRICS, Votes, panoptic_segmentation
from tasks.prepare.panoptic_scenes import panoptic_scenes
from tasks.pseudo_label.panoptic_pseudo_labels import panoptic_pseudo_labels
from tasks.self_train.pseudo_labels_as_predictions import pseudo_labels_as_predictions
from tasks.steps import find_step

N_TRAIN, N_TEST = 12, 6


@pytest.fixture(scope="module")
def scenes():
    return panoptic_scenes(n_train=N_TRAIN, n_test=N_TEST, image_size=32)


def _clusters(scenes, keep=lambda sample, number: True):
    """The truth as clusters: thing cluster 6 - class, dense cluster (class + 3) % 7."""
    semantic, instance = scenes.arrays["semantic"], scenes.arrays["instance"]
    pairs = [(s, n) for s in range(len(semantic)) for n in np.unique(instance[s]) if n > 0 and keep(s, n)]
    masks = np.stack([instance[s] == n for s, n in pairs])
    cluster = [6 - int(np.median(semantic[s][m])) for (s, _), m in zip(pairs, masks, strict=True)]
    units = pd.DataFrame(
        {"unit": np.arange(len(masks)), "cluster": cluster, "sample": [s for s, _ in pairs], "area": masks.sum((1, 2))}
    )
    rng = np.random.default_rng(0)
    arrays = {
        "masks": masks,
        "dense": ((semantic + 3) % 7).astype(np.int16),
        "eigenvectors": rng.standard_normal((len(semantic), 8, 8)).astype(np.float32),
        "region_embedding": rng.standard_normal((len(masks), 3)).astype(np.float32),
        "region_centroids": rng.standard_normal((4, 3)).astype(np.float32),
    }
    return Clusters({"units": units}, arrays, meta={"thing_clusters": 4, "stuff_clusters": 7})


def _evaluate(scenes, clusters, fused_from=None, **settings):
    labels = panoptic_pseudo_labels(scenes.without_truth(), fused_from or clusters)
    model = pseudo_labels_as_predictions(scenes.without_truth(), clusters, labels)
    return panoptic_segmentation(scenes, clusters, labels, model, **settings)


@pytest.mark.parametrize("fit_on", ["train", "test"])
@pytest.mark.parametrize("mapping", ["majority", "hungarian"])
def test_the_truth_scores_one(scenes, mapping, fit_on, tmp_path):
    metrics = _evaluate(scenes, _clusters(scenes), mapping=mapping, fit_on=fit_on)
    metrics.save(tmp_path / "metrics")
    values = Metrics.load(tmp_path / "metrics").values
    assert set(values) == set(METRICS)
    exact = {k: v for k, v in values.items() if k not in ("mapped", "pixel_acc_dense", "miou_dense", "vote_agreement")}
    assert exact == pytest.approx(dict.fromkeys(exact, 1.0))
    # Predictions hold no stuff segment of a thing, so those dense clusters get no votes from them.
    assert values["pixel_acc_dense"] == (
        pytest.approx(1.0) if fit_on == "train" else pytest.approx(_stuff_share(scenes))
    )
    assert metrics.meta["fit_on"] == fit_on
    assert metrics.meta["thing_cluster_classes"] == [6, 5, 4, 3]


def _stuff_share(scenes):
    return (scenes.arrays["semantic"][N_TRAIN:] < 3).mean()


def test_figures_are_pictures_and_equal_when_drawn_twice(scenes):
    one, other = (_evaluate(scenes, _clusters(scenes), examples=3) for _ in range(2))
    assert set(one.figures) == {"scenes", "votes", "centroids"}
    assert one.figures == other.figures
    for png in one.figures.values():
        assert min(Image.open(io.BytesIO(png)).size) > 150


def test_missed_objects_cost_recall(scenes):
    """Test images without their first object: things lose recognition, their leftover is no stuff."""
    clusters = _clusters(scenes, keep=lambda sample, number: sample < N_TRAIN or number > 1)
    values = _evaluate(scenes, clusters).values
    objects = sum(len(np.unique(i)) - 1 for i in scenes.arrays["instance"][N_TRAIN:])
    assert values["ar100_agnostic"] == pytest.approx((objects - N_TEST) / objects)
    assert values["rq_things"] < 1
    assert values["sq_stuff"] == pytest.approx(1.0)
    assert values["pq_stuff"] == pytest.approx(1.0)
    assert values["mask_recall"] == 1.0


def test_numbers_of_segments_do_not_matter(scenes):
    clusters = _clusters(scenes)
    labels = panoptic_pseudo_labels(scenes.without_truth(), clusters)
    model = pseudo_labels_as_predictions(scenes.without_truth(), clusters, labels)
    before = panoptic_segmentation(scenes, clusters, labels, model)
    shift = np.where(model.arrays["panoptic"] > 0, 40 - model.arrays["panoptic"], 0).astype(np.int32)
    table = model.tables["segments"].assign(segment=40 - model.tables["segments"]["segment"])
    renamed = type(model)({"segments": table}, model.arrays | {"panoptic": shift}, meta=model.meta)
    after = panoptic_segmentation(scenes, clusters, labels, renamed)
    assert after.values == pytest.approx(before.values)
    assert after.figures["scenes"] == before.figures["scenes"]


def test_hungarian_leaves_the_clusters_that_majority_shares(scenes):
    clusters = _clusters(scenes)
    # Every thing cluster is split in two by the parity of the image.
    units = clusters.tables["units"].assign(cluster=lambda t: t["cluster"] * 2 + t["sample"] % 2)
    arrays = clusters.arrays | {"region_centroids": np.zeros((8, 3), dtype=np.float32)}
    split = Clusters({"units": units}, arrays, meta={"thing_clusters": 8, "stuff_clusters": 7})
    majority = _evaluate(scenes, split, mapping="majority")
    hungarian = _evaluate(scenes, split, mapping="hungarian")
    assert majority.values["pq"] == pytest.approx(1.0)
    assert hungarian.meta["thing_cluster_classes"].count(-1) == 4
    assert hungarian.values["pq_things"] < 0.95
    assert hungarian.values["vote_agreement"] < 1


def test_mapping_from_training_images_does_not_see_test_truth(scenes):
    rng = np.random.default_rng(0)
    arrays = {k: np.array(v) for k, v in scenes.arrays.items()}
    order = np.append(np.arange(N_TRAIN), N_TRAIN + rng.permutation(N_TEST))
    shuffled = Dataset(
        scenes.tables, {k: v if k == "images" else v[order] for k, v in arrays.items()}, meta=scenes.meta
    )
    clusters = _clusters(scenes)
    before, after = _evaluate(scenes, clusters), _evaluate(shuffled, clusters)
    assert before.meta["thing_cluster_classes"] == after.meta["thing_cluster_classes"]
    assert before.meta["stuff_cluster_classes"] == after.meta["stuff_cluster_classes"]
    assert after.values["pq"] < before.values["pq"]


def test_semantic_truth_alone_gives_semantic_metrics(scenes):
    arrays = {k: v for k, v in scenes.arrays.items() if k != "instance"}
    meta = {"class_names": scenes.meta["class_names"], "thing_classes": [], "truth": ["semantic"]}
    data = Dataset(scenes.tables, arrays, meta=meta)
    clusters = _clusters(scenes)
    for fit_on in ("train", "test"):
        values = _evaluate(data, clusters, fit_on=fit_on, votes=Votes(stuff="pixels")).values
        assert set(values) == {"pixel_acc", "miou", "pixel_acc_dense", "miou_dense", "mapped", "vote_agreement"}
        assert values["pixel_acc"] > 0.95


def test_unsure_detections_do_not_vote(scenes):
    metrics = _evaluate(scenes, _clusters(scenes), fit_on="test", votes=Votes(box_iou=1.0))
    assert metrics.meta["thing_cluster_classes"] == [-1] * 4
    assert metrics.values["ap"] == 0.0
    assert metrics.values["ap_agnostic"] == pytest.approx(1.0)
    assert all(math.isfinite(v) for v in metrics.values.values())


def test_errors(scenes):
    clusters = _clusters(scenes)
    labels = panoptic_pseudo_labels(scenes.without_truth(), clusters)
    model = pseudo_labels_as_predictions(scenes.without_truth(), clusters, labels)
    with pytest.raises(ValueError, match="truth array 'semantic' is needed"):
        panoptic_segmentation(scenes.without_truth(), clusters, labels, model)
    del model.arrays["panoptic"]
    with pytest.raises(ValueError, match="model: array 'panoptic' is needed"):
        panoptic_segmentation(scenes, clusters, labels, model)


def test_step_is_declared_with_its_metrics():
    step = find_step("evaluate", "panoptic_segmentation")
    assert step.accepts() == ["mapping", "fit_on", "votes", "examples"]
    assert step.metrics is METRICS
