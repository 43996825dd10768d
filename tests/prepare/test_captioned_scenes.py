"""Captioned scenes: tables, masks and captions agree with what was drawn; the seed alone decides."""

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from tasks.prepare.captioned_scenes import captioned_scenes
from tasks.shape_scenes.labels import CombinedLabel, MergedLabel
from tasks.shape_scenes.vocabulary import WORDS


@pytest.fixture(scope="module")
def scenes():
    dataset = captioned_scenes(n_train=250, n_val=20, n_test=30, mode="mixed", seed=3)
    dataset.check()
    return dataset


def test_every_listed_object_is_on_the_mask_with_its_area_and_box(scenes):
    masks, objects = scenes.arrays["instance_masks"], scenes.tables["objects"]
    for o in objects.itertuples():
        ys, xs = np.nonzero(masks[o.sample] == o.object)
        assert len(xs) == o.area > 0
        assert (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) == (o.x, o.y, o.width, o.height)
    assert sum(len(np.unique(mask)) - 1 for mask in masks) == len(objects)


def test_relation_in_the_caption_agrees_with_the_centres(scenes):
    objects = scenes.tables["objects"].groupby("sample")
    several = 0
    for sample, text in zip(*scenes.tables["captions"].to_numpy().T, strict=True):
        o = objects.get_group(sample)
        words = text.split()
        if len(o) == 1:
            assert not {"left", "right", "above", "below", "and"} & set(words)
            continue
        several += 1
        (ax, ay), (bx, by) = o[["cx", "cy"]].to_numpy()[:2]
        if "left of" in text or "right of" in text:
            assert abs(ax - bx) >= abs(ay - by)
            assert ("left of" in text) == (ax < bx)
        else:
            assert abs(ay - by) >= abs(ax - bx)
            assert ("above" in text) == (ay < by)  # y grows downwards
        assert text.count(" and a ") == len(o) - 2
    assert several > 50


def test_relations_hold_both_ways(scenes):
    relations, objects = scenes.tables["relations"], scenes.tables["objects"]
    counts = objects.groupby("sample").size()
    assert len(relations) == (counts * (counts - 1)).sum()
    rows = set(relations.itertuples(index=False, name=None))
    back = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    assert all((s, other, back[how], subject) in rows for s, subject, how, other in rows)


def test_captions_name_what_is_there_in_a_closed_vocabulary(scenes):
    objects = scenes.tables["objects"].groupby("sample")
    factors = scenes.meta["factors"]
    for sample, text in zip(*scenes.tables["captions"].to_numpy().T, strict=True):
        words = set(text.split())
        assert words <= set(WORDS)
        for factor in ("shape", "color", "texture"):
            assert words & set(factors[factor]) <= set(objects.get_group(sample)[factor])
        assert len(text.split()) <= 18  # and two ends: 20 tokens
    assert "plain" not in WORDS


def test_words_are_dropped_at_the_declared_rate():
    captions = captioned_scenes(n_train=1500, image_size=8, supersample=1, mode="single", textures=["dotted"]).tables[
        "captions"
    ]["caption"]
    plain = captions[~captions.str.contains(" color| texture")]
    assert plain.str.contains("dotted").mean() == pytest.approx(0.7, abs=0.05)
    assert plain.str.contains("red|green|blue|yellow|purple|orange").mean() == pytest.approx(0.7, abs=0.05)
    assert plain.str.contains("thing").mean() == pytest.approx(0.1, abs=0.03)
    assert captions.str.contains(" color").mean() == pytest.approx(0.1, abs=0.03)
    assert captions.str.contains(" texture").mean() == pytest.approx(0.1, abs=0.03)


def test_factors_labels_and_semantic_masks_are_those_of_the_largest_object(scenes):
    objects, names = scenes.tables["objects"], scenes.meta["factors"]
    for sample, factors in enumerate(scenes.arrays["factors"]):
        o = objects[objects["sample"] == sample].sort_values("area", ascending=False, kind="stable").iloc[0]
        assert [names[f][factors[i]] for i, f in enumerate(("shape", "color", "texture"))] == [
            o["shape"],
            o["color"],
            o["texture"],
        ]
        assert scenes.samples["label"][sample] == names["shape"].index(o["shape"])
    instance, semantic = scenes.arrays["instance_masks"], scenes.arrays["semantic_masks"]
    for o in objects.itertuples():
        inside = semantic[o.sample][instance[o.sample] == o.object]
        assert (inside == 1 + names["shape"].index(o.shape)).all()
    assert (semantic[instance == 0] == 0).all()


def test_objects_keep_apart(scenes):
    for _, o in scenes.tables["objects"].groupby("sample"):
        place, r = o[["cx", "cy"]].to_numpy(), o["r"].to_numpy()
        for i in range(len(o)):
            assert (np.abs(place[i]) <= 1 - r[i]).all()
            for j in range(i):
                assert np.linalg.norm(place[i] - place[j]) > 1.05 * (r[i] + r[j])


def test_held_out_kinds_never_occur_in_train():
    dataset = captioned_scenes(
        n_train=150, n_test=150, image_size=16, holdout=[["circle", "*", "*"], ["star", "red", "dotted"]], mode="scene"
    )
    split = dataset.samples["split"].to_numpy()[dataset.tables["objects"]["sample"]]
    shape = dataset.tables["objects"]["shape"].to_numpy()
    assert "circle" not in set(shape[split == "train"])
    assert "circle" in set(shape[split == "test"])


def test_equal_seeds_give_equal_bytes_and_more_images_leave_the_first_alone(scenes):
    def digest(dataset):
        return hashlib.sha256(dataset.arrays["images"].tobytes()).hexdigest()

    one, again, other = (captioned_scenes(n_train=6, n_test=2, seed=s) for s in (1, 1, 2))
    assert digest(one) == digest(again) != digest(other)
    more = captioned_scenes(n_train=9, n_test=3, seed=1)
    assert np.array_equal(one.arrays["images"], more.arrays["images"][[*range(6), 9, 10]])


def test_domains_change_the_look_and_nothing_else():
    drawn = {
        d: captioned_scenes(n_train=30, domain=d, noise=0.0) for d in ("clean", "sketch", "pale", "noisy", "inverted")
    }
    clean = drawn["clean"].arrays["images"].astype(int)
    for dataset in drawn.values():
        assert np.array_equal(dataset.arrays["instance_masks"], drawn["clean"].arrays["instance_masks"])
        assert dataset.tables["captions"].equals(drawn["clean"].tables["captions"])
    assert np.abs(drawn["inverted"].arrays["images"] + clean - 255).max() <= 1
    background = drawn["clean"].arrays["instance_masks"] == 0
    assert (drawn["sketch"].arrays["images"][background].mean()) > 250
    middle = (clean > 100) & (clean < 155)  # where noise is not clipped
    assert (drawn["noisy"].arrays["images"].astype(int) - clean)[middle].std() == pytest.approx(0.15 * 255, rel=0.1)

    def saturation(images, masks):
        inside = images[masks > 0].astype(float)
        return (inside.max(axis=1) - inside.min(axis=1)).mean()

    masks = drawn["clean"].arrays["instance_masks"]
    ratio = saturation(drawn["pale"].arrays["images"], masks) / saturation(clean, masks)
    assert ratio == pytest.approx(0.4, abs=0.02)


def test_raw_pixels_tell_little():
    """Ridge classifier on 1500 images, single mode (chance 0.17, 0.17, 0.25)."""
    dataset = captioned_scenes(n_train=1500, n_test=500, mode="single")
    x = dataset.arrays["images"].reshape(2000, -1)[:, ::2] / 255  # every other value: enough, and four times as fast
    accuracy = []
    for factor in range(3):
        y = dataset.arrays["factors"][:, factor]
        accuracy.append(RidgeClassifier(alpha=100).fit(x[:1500], y[:1500]).score(x[1500:], y[1500:]))
    shape, color, texture = accuracy
    assert 0.35 < shape < 0.6
    assert 0.6 < color < 0.85
    assert 0.4 < texture < 0.7


def test_combined_labels_restrict_name_and_hide_classes():
    label = CombinedLabel(combine=["shape", "color", "texture"], n_classes=36, unseen=12, share_attributes=2)
    dataset = captioned_scenes(n_train=200, n_test=200, image_size=16, mode="scene", n_objects=[2, 2], label=label)
    dataset.check()
    classes, objects = dataset.tables["classes"], dataset.tables["objects"]
    assert classes["seen"].tolist() == [True] * 24 + [False] * 12
    assert classes["name"].is_unique
    assert not set(classes["name"]) & set(WORDS)
    attributes = [set(a.split()) for a in classes["attributes"]]
    assert set().union(*attributes[24:]) <= set().union(*attributes[:24])
    own = (objects["shape"] + " " + objects["color"] + " " + objects["texture"]).to_numpy()
    number = np.array([classes["attributes"].tolist().index(a) for a in own])
    split = dataset.samples["split"].to_numpy()[objects["sample"]]
    assert number[split == "train"].max() < 24
    assert number[split == "test"].max() >= 24
    pairs = [o[["shape", "color", "texture"]].to_numpy() for _, o in objects.groupby("sample") if len(o) == 2]
    alike = np.mean([(a == b).sum() == 2 for a, b in pairs])
    assert 0.45 < alike < 0.75  # half by design, and some by chance


def test_merged_labels_are_coarse():
    label = MergedLabel(merge="shape", groups=[["circle", "ring"], ["square", "cross"], ["triangle", "star"]])
    dataset = captioned_scenes(n_train=60, image_size=16, label=label, mode="single")
    group = {"circle": 0, "ring": 0, "square": 1, "cross": 1, "triangle": 2, "star": 2}
    assert dataset.samples["label"].tolist() == [group[s] for s in dataset.tables["objects"]["shape"]]
    assert dataset.meta["class_names"] == ["circle or ring", "square or cross", "triangle or star"]


def test_captions_are_truth_unless_given():
    hidden, given = (captioned_scenes(n_train=4, captions=g).without_truth() for g in (False, True))
    assert set(hidden.tables) == {"samples"}
    assert set(given.tables) == {"samples", "captions"}
    assert set(hidden.arrays) == {"images"}
    assert "label" not in hidden.samples


def test_replicates_are_draws_of_their_own():
    dataset = captioned_scenes(n_train=5, n_test=2, replicates=3, grant="train")
    replicate = dataset.arrays["replicate"]
    assert np.bincount(replicate).tolist() == [7, 7, 7]
    first, second = (dataset.arrays["images"][replicate == r] for r in (0, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, captioned_scenes(n_train=5, n_test=2).arrays["images"])
    assert dataset.samples["given_label"].notna().sum() == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_objects": [1, 5]}, "n_objects"),
        ({"n_objects": [3, 2]}, "n_objects"),
        ({"shapes": ["circle", "circle"]}, "shapes"),
        ({"colors": []}, "colors"),
        ({"holdout": [["*", "*", "*"]]}, "holdout: .* leaves no kind"),
        ({"holdout": [["disk", "*", "*"]]}, "holdout: 'disk'"),
        ({"label": CombinedLabel(combine=["shape"], n_classes=7)}, "label: n_classes 7 of 6"),
        ({"label": CombinedLabel(combine=["shape"], n_classes=4, unseen=4)}, "label: unseen"),
        ({"label": CombinedLabel(combine=["shape"], n_classes=4, unseen=1)}, "label: 3 seen classes cannot"),
        ({"label": MergedLabel(merge="shape", groups=[["circle"], ["ring"]])}, "label: groups"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        captioned_scenes(n_train=2, **change)
