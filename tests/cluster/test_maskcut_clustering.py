"""The clustering stage of U2Seg on small scenes."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.checkpoint.dino import dino
from tasks.cluster.maskcut_clustering import Dense, MaskCut, Regions, maskcut_clustering
from tasks.prepare.panoptic_scenes import panoptic_scenes
from tasks.pretrain.dino_features import dino_features
from tasks.segmentation.mask_quality import mask_quality
from tasks.segmentation.stego import Stego
from tasks.steps import find_step

MASKCUT = MaskCut(n_masks=4, tau=0.6, max_corners=1, max_area=0.4, min_area=0.01)
REGIONS = Regions(n_clusters=4, embed="masked_mean")
DENSE = Dense(step="kmeans", n_clusters=5)


@pytest.fixture(scope="module")
def scenes():
    return panoptic_scenes(n_train=24, n_test=8, two_stuff=0.0)


@pytest.fixture(scope="module")
def checkpoint(scenes):
    return dino(
        scenes.without_truth(),
        patch=4,
        hidden=12,
        layers=1,
        heads=3,
        prototypes=8,
        steps=2,
        batch_size=4,
        global_size=16,
        global_scale=[0.4, 1.0],
        local_size=8,
        local_scale=[0.1, 0.4],
        local_crops=1,
    )


@pytest.fixture(scope="module")
def representation(scenes, checkpoint):
    return dino_features(scenes.without_truth(), checkpoint, features="linear_patch", smooth=0.6)


def _run(scenes, checkpoint, representation, *, maskcut=MASKCUT, regions=REGIONS, dense=DENSE, seed=0):
    return maskcut_clustering(
        scenes.without_truth(), checkpoint, representation, maskcut=maskcut, regions=regions, dense=dense, seed=seed
    )


@pytest.fixture(scope="module")
def clusters(scenes, checkpoint, representation):
    return _run(scenes, checkpoint, representation)


def test_shapes_types_and_ranges(clusters, tmp_path):
    clusters.save(tmp_path / "clusters")
    read = Clusters.load(tmp_path / "clusters")
    units, arrays = read.tables["units"], read.arrays
    count = len(units)
    assert arrays["masks"].shape == (count, 64, 64)
    assert arrays["masks"].dtype == bool
    assert arrays["dense"].shape == (32, 64, 64)
    assert arrays["dense"].dtype == np.int16
    assert set(np.unique(arrays["dense"])) == set(range(5))
    assert set(units["cluster"]) == set(range(4))
    assert (units["area"] == arrays["masks"].sum(axis=(1, 2))).all()
    assert (units["area"] > 0).all()
    assert arrays["region_embedding"].shape == (count, 48)
    assert arrays["region_embedding"].dtype == arrays["eigenvectors"].dtype == np.float32
    assert arrays["region_centroids"].shape == (4, 48)
    assert arrays["dense_centroids"].shape == (5, 48)
    assert arrays["eigenvectors"].shape == (32, 16, 16)
    assert read.meta == {"thing_clusters": 4, "stuff_clusters": 5, "embed": "masked_mean"}
    assert set(units["sample"]) & set(range(24, 32)), "no test image has a mask"


def test_masks_of_one_image_are_disjoint(clusters):
    owner = clusters.tables["units"]["sample"].to_numpy()
    for image in range(32):
        assert clusters.arrays["masks"][owner == image].sum(axis=0).max(initial=0) <= 1


def test_rows_belong_to_the_nearest_centroid(clusters, representation):
    def nearest(x, centroids):
        return ((x[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)

    arrays = clusters.arrays
    assert (
        nearest(arrays["region_embedding"], arrays["region_centroids"]) == clusters.tables["units"]["cluster"]
    ).all()
    dense = nearest(representation.arrays["embedding"], arrays["dense_centroids"]).reshape(32, 16, 16)
    assert np.array_equal(np.kron(dense, np.ones((4, 4), dtype=int)), arrays["dense"])


def test_masks_are_objects(scenes, clusters):
    owner = clusters.tables["units"]["sample"].to_numpy()
    recall, precision = mask_quality(clusters.arrays["masks"], owner, scenes.arrays["instance"])
    assert recall > 0.4
    assert precision > 0.65


def test_truth_cannot_leak(scenes, checkpoint, representation, clusters):
    rng = np.random.default_rng(0)
    shuffled = {k: rng.permutation(v) if k != "images" else v for k, v in scenes.arrays.items()}
    again = _run(Dataset(scenes.tables, shuffled, meta=scenes.meta), checkpoint, representation)
    assert _equal(clusters, again)


def test_same_seed_same_bits_and_masks_do_not_depend_on_the_seed(scenes, checkpoint, representation, clusters):
    assert _equal(clusters, _run(scenes, checkpoint, representation))
    other = _run(scenes, checkpoint, representation, seed=1)
    assert np.array_equal(clusters.arrays["masks"], other.arrays["masks"])
    assert not np.array_equal(clusters.arrays["dense_centroids"], other.arrays["dense_centroids"])


@pytest.mark.parametrize("step", ["kmeans", "stego"])
def test_everything_is_fitted_on_the_train_split(scenes, checkpoint, representation, step):
    dense = Dense(step=step, n_clusters=5, stego=Stego(code=4, points=3, neighbours=2, negatives=1, steps=3))
    first = _run(scenes, checkpoint, representation, dense=dense)
    embedding = np.array(representation.arrays["embedding"])
    embedding[24 * 256 :] = embedding[24 * 256 :][::-1]
    changed = Representation(representation.tables, {"embedding": embedding}, meta=representation.meta)
    second = _run(scenes, checkpoint, changed, dense=dense)
    for name in ("region_centroids", "dense_centroids"):
        assert np.array_equal(first.arrays[name], second.arrays[name])
    assert np.array_equal(first.arrays["dense"][:24], second.arrays["dense"][:24])
    assert not np.array_equal(first.arrays["dense"][24:], second.arrays["dense"][24:])


def test_cls_embedding_crf_and_stego_together(scenes, checkpoint, representation, tmp_path):
    few = _head_of(scenes, 6)
    rows = np.concatenate([np.arange(6 * 256), np.arange(24 * 256, 26 * 256)])
    part = Representation(
        {"units": representation.tables["units"]},
        {"embedding": representation.arrays["embedding"][rows]},
        meta=representation.meta,
    )
    dense = Dense(step="stego", n_clusters=3, stego=Stego(code=4, points=3, neighbours=2, negatives=1, steps=5))
    found = _run(
        few,
        checkpoint,
        part,
        maskcut=MASKCUT.model_copy(update={"crf": True}),
        regions=Regions(n_clusters=2, embed="cls"),
        dense=dense,
    )
    found.save(tmp_path / "clusters")
    assert found.arrays["region_embedding"].shape[1] == 12
    assert found.arrays["dense_centroids"].shape == (3, 4)
    assert set(found.tables["curves"]["curve"]) == {"stego_loss"}
    assert found.networks["stego"].config == {"dim": 48, "code": 4, "dropout": 0.1}
    coarse = _run(few, checkpoint, part, regions=Regions(n_clusters=2, embed="masked_mean"), dense=dense)
    assert not np.array_equal(found.arrays["masks"][0], coarse.arrays["masks"][0])
    # Refined masks follow the objects' outlines: they match more closely than those made of patches.
    owners = [c.tables["units"]["sample"].to_numpy() for c in (found, coarse)]
    best = [
        _mean_best_iou(c.arrays["masks"], o, few.arrays["instance"])
        for c, o in zip((found, coarse), owners, strict=True)
    ]
    assert best[0] > best[1]


def test_image_without_masks_keeps_its_dense_clusters(scenes, checkpoint, representation):
    embedding = np.array(representation.arrays["embedding"])
    embedding[:256] = embedding[0]
    part = Representation(representation.tables, {"embedding": embedding}, meta=representation.meta)
    found = _run(scenes, checkpoint, part)
    assert 0 not in set(found.tables["units"]["sample"])
    assert not found.arrays["eigenvectors"][0].any()
    assert len(np.unique(found.arrays["dense"][0])) == 1


def test_no_mask_at_all_is_an_error(scenes, checkpoint, representation):
    flat = Representation(
        representation.tables, {"embedding": np.ones_like(representation.arrays["embedding"])}, meta=representation.meta
    )
    with pytest.raises(ValueError, match=r"no mask in all 24 images of split train; calibrate tau \(0.6\)"):
        _run(scenes, checkpoint, flat)


def test_more_clusters_than_masks_is_an_error(scenes, checkpoint, representation):
    with pytest.raises(ValueError, match=r"regions.n_clusters: 800 is more than the \d+ masks"):
        _run(scenes, checkpoint, representation, regions=Regions(n_clusters=800, embed="masked_mean"))


def test_representation_must_have_the_patches_of_these_images(scenes, checkpoint, representation):
    with pytest.raises(ValueError, match="needs meta 'grid'"):
        _run(scenes, checkpoint, Representation(representation.tables, representation.arrays))
    with pytest.raises(ValueError, match="8192 units are not 9 images of 16x16 patches"):
        _run(_head_of(scenes, 7), checkpoint, representation)


def test_crf_needs_bytes(scenes, checkpoint, representation):
    images = {"images": scenes.arrays["images"].astype(np.float32) / 255}
    with pytest.raises(ValueError, match="uint8"):
        _run(
            Dataset(scenes.tables, images), checkpoint, representation, maskcut=MASKCUT.model_copy(update={"crf": True})
        )


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (MaskCut, {"tau": 1.0}),
        (MaskCut, {"tau": -1.0}),
        (MaskCut, {"n_masks": 0}),
        (MaskCut, {"max_corners": 5}),
        (MaskCut, {"max_area": 1.5}),
        (Regions, {"n_clusters": 0}),
        (Regions, {"embed": "mean"}),
        (Dense, {"step": "gmm"}),
        (Dense, {"stego": {"steps": 0}}),
    ],
)
def test_settings_out_of_range_are_refused(group, values):
    with pytest.raises(ValidationError):
        group(**values)


def test_declared_groups_are_read_as_params_yaml_gives_them():
    step = find_step("cluster", "maskcut_clustering")
    assert step.inputs == ("dataset", "checkpoint", "representation")
    assert step.takes_seed
    declared = {
        "maskcut": {"n_masks": 5, "tau": 0.6, "max_corners": 1, "max_area": 0.4, "min_area": 0.01, "crf": False},
        "regions": {"step": "kmeans", "n_clusters": 8, "embed": "masked_mean"},
        "dense": {"step": "stego", "n_clusters": 8, "stego": {"knn": {"weight": 0.25, "bias": 0.02}}},
    }
    values = step.parameters.model_validate(declared)
    assert values.model_dump()["dense"]["stego"]["knn"] == {"weight": 0.25, "bias": 0.02}


def _head_of(scenes, train):
    rows = np.concatenate([np.arange(train), [24, 25]])
    samples = pd.DataFrame({"sample": np.arange(len(rows)), "split": ["train"] * train + ["test"] * 2})
    return Dataset({"samples": samples}, {k: v[rows] for k, v in scenes.arrays.items()}, meta=scenes.meta)


def _mean_best_iou(masks, owner, instance):
    best = []
    for mask, image in zip(masks, owner, strict=True):
        objects = [instance[image] == number for number in range(1, instance[image].max() + 1)]
        best.append(max((mask & o).sum() / (mask | o).sum() for o in objects))
    return np.mean(best)


def _equal(a, b):
    return all(np.array_equal(value, b.arrays[name]) for name, value in a.arrays.items()) and a.tables["units"].equals(
        b.tables["units"]
    )
