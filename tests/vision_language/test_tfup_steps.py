"""TFUP from soft groups to metrics, on features in which the text vectors are off the image clusters."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from tasks.artifacts import Clusters, Dataset, Representation
from tasks.cluster.zero_shot_assignment import zero_shot_assignment
from tasks.evaluate.adapted_classification import adapted_classification
from tasks.pseudo_label.representative_cache import CacheSize, representative_cache
from tasks.self_train.cache_classifier import cache_classifier
from tasks.self_train.clip_adapter import clip_adapter, main_loss

K, PER_CLASS, DIM = 4, 20, 8
SCALE = 50.0


def make(seed=0, classes=K, per_class=PER_CLASS):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, DIM)) * 3
    label = np.repeat(np.arange(classes), 2 * per_class)
    feature = (centres[label] + rng.normal(size=(len(label), DIM))).astype(np.float32)
    text = (2 * (centres + 2 * rng.normal(size=(classes, DIM)))).astype(np.float32)
    views = feature[:, None] + 0.3 * rng.normal(size=(len(label), 2, DIM)).astype(np.float32)
    order = rng.permutation(len(label))
    label, feature, views = label[order], feature[order], views[order]
    n = len(label)
    split = np.where(np.arange(n) % 2 == 0, "train", "test")
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(split, dtype="str")})
    samples["label"] = pd.Series(label, dtype="Int64")
    images = np.broadcast_to(label[:, None, None, None], (n, 4, 4, 3)).astype(np.uint8)
    dataset = Dataset({"samples": samples}, {"images": images}, meta={"class_names": [f"c{k}" for k in range(classes)]})
    units = pd.DataFrame({"unit": np.arange(n), "sample": np.arange(n)})
    arrays = {"embedding": feature, "text": text, "views": views}
    return dataset, Representation({"units": units}, arrays, meta={"logit_scale": SCALE})


@pytest.fixture(scope="module")
def data():
    return make()


@pytest.fixture(scope="module")
def labelled(data):
    dataset, representation = data
    result = representative_cache(dataset.without_truth(), representation, zero_shot_assignment(representation))
    result.check()
    return result


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_groups_are_softmax_of_a_tenth_of_the_logits(data):
    _, representation = data
    groups = zero_shot_assignment(representation)
    groups.check()
    feature, text = unit(representation.arrays["embedding"]), unit(representation.arrays["text"])
    expected = softmax(SCALE / 10 * feature @ text.T, axis=1)
    assert np.allclose(groups.arrays["membership"], expected, atol=1e-6)
    cluster = groups.tables["units"]["cluster"].to_numpy()
    assert np.array_equal(cluster, expected.argmax(axis=1))
    for k in np.unique(cluster):
        assert np.allclose(groups.arrays["centroids"][k], feature[cluster == k].mean(axis=0), atol=1e-6)


def test_every_class_has_as_many_unlabeled_images_in_the_cache(data, labelled):
    dataset, _ = data
    cache = labelled.arrays["cache_units"]
    assert cache.shape == (K, 9)  # floor(0.3 * 20) = 6, at least 9
    assert labelled.meta["cache_size"] == 9
    assert (dataset.samples["split"][cache.ravel()] == "train").all()
    assert (dataset.samples["split"][labelled.arrays["train_units"]] == "train").all()
    assert len(labelled.arrays["train_units"]) == K * 15  # floor(0.75 * 20)
    pseudo = labelled.tables["units"]["pseudo_label"].to_numpy()
    assert np.array_equal(labelled.arrays["train_labels"], pseudo[labelled.arrays["train_units"]])
    assert np.array_equal(labelled.arrays["logits"].argmax(axis=1), pseudo)


def test_no_weight_is_zero_shot(data):
    dataset, representation = data
    groups = zero_shot_assignment(representation)
    for change in ({"alpha": 0.0}, {"beta": 0.0}):
        found = representative_cache(dataset.without_truth(), representation, groups, **change)
        assert np.array_equal(found.tables["units"]["pseudo_label"], groups.tables["units"]["cluster"])


def test_short_data_are_cached_whole_and_said_so(data):
    dataset, representation = make(per_class=2)
    found = representative_cache(dataset.without_truth(), representation, zero_shot_assignment(representation))
    train = len(dataset.rows("train"))
    assert found.arrays["cache_units"].shape == (K, train)
    assert (found.meta["cache_size"], found.meta["cache_size_wanted"]) == (train, 9)


def test_the_cache_helps_where_texts_are_off(data):
    """As in the simulation of the specification: the votes correct what the texts get wrong."""
    gains = []
    for seed in range(5):
        dataset, representation = make(seed, classes=12, per_class=30)
        groups = zero_shot_assignment(representation)
        accuracy = []
        for alpha in (0.0, 3.0):
            pseudo = representative_cache(dataset.without_truth(), representation, groups, alpha=alpha)
            accuracy.append(
                adapted_classification(dataset, representation, pseudo, cache_classifier(pseudo), figures=False).values[
                    "accuracy"
                ]
            )
        gains.append(accuracy[1] - accuracy[0])
    assert np.mean(gains) > 0.02


def test_labels_are_used_by_evaluation_only(data, labelled):
    dataset, representation = data
    shuffled = dataset.samples.assign(label=np.random.default_rng(1).permutation(dataset.samples["label"]))
    other = Dataset({"samples": shuffled}, dataset.arrays, meta=dataset.meta)
    again = representative_cache(other, representation, zero_shot_assignment(representation))
    for name, array in labelled.arrays.items():
        assert np.array_equal(array, again.arrays[name])
    one, two = (clip_adapter(d, representation, labelled, epochs=2, warmup_epochs=1, seed=0) for d in (dataset, other))
    assert np.array_equal(one.arrays["logits"], two.arrays["logits"])


def test_metrics_beside_counting(data, labelled):
    dataset, representation = data
    model = cache_classifier(labelled)
    model.check()
    metrics = adapted_classification(dataset, representation, labelled, model)
    metrics.check()
    truth = dataset.samples["label"].to_numpy(dtype=int)
    rows, pseudo = dataset.rows("test"), labelled.tables["units"]["pseudo_label"].to_numpy()
    assert metrics.values["accuracy"] == (pseudo[rows] == truth[rows]).mean()
    recall = [(pseudo[rows][truth[rows] == k] == k).mean() for k in range(K)]
    assert metrics.values["mean_class_accuracy"] == pytest.approx(np.mean(recall))
    assert metrics.tables["curves"]["y"].tolist() == pytest.approx(recall)
    cache = labelled.arrays["cache_units"]
    assert metrics.values["cache_purity"] == np.mean([truth[i] == k for k in range(K) for i in cache[k]])
    sure = softmax(labelled.arrays["logits"], axis=1).max(axis=1)[dataset.rows("train")] > 0.9
    assert metrics.values["confident_share"] == pytest.approx(sure.mean())
    assert "accuracy_best_epoch" not in metrics.values
    assert metrics.figures["cached_votes"].startswith(b"\x89PNG")


def test_adapters_train_and_report_the_last_epoch(data, labelled):
    dataset, representation = data
    hidden = dataset.without_truth()
    model = clip_adapter(hidden, representation, labelled, epochs=6, warmup_epochs=2, batch_size=32, seed=0)
    model.check()
    assert model.arrays["epoch_predictions"].shape == (6, 2 * K * PER_CLASS)
    last = model.tables["predictions"]["prediction"].to_numpy()
    assert np.array_equal(model.arrays["epoch_predictions"][-1], last)
    assert np.array_equal(model.arrays["logits"].argmax(axis=1), last)
    values = adapted_classification(dataset, representation, labelled, model, figures=False).values
    truth, rows = dataset.samples["label"].to_numpy(dtype=int), dataset.rows("test")
    by_epoch = (model.arrays["epoch_predictions"][:, rows] == truth[rows]).mean(axis=1)
    assert values["accuracy_best_epoch"] == by_epoch.max() >= values["accuracy"] == by_epoch[-1]
    curves = model.tables["curves"]
    assert (curves["curve"] == "loss").sum() == 6
    assert (curves["curve"] == "marginal").sum() == 4
    assert curves["y"][curves["curve"] == "marginal"].between(-np.log(K), 0).all()
    again = clip_adapter(hidden, representation, labelled, epochs=6, warmup_epochs=2, batch_size=32, seed=0)
    assert np.array_equal(model.arrays["logits"], again.arrays["logits"])
    other = clip_adapter(hidden, representation, labelled, epochs=6, warmup_epochs=2, batch_size=32, seed=1)
    assert not np.array_equal(model.arrays["logits"], other.arrays["logits"])


def test_untrained_without_image_adapter_it_is_zero_shot(data, labelled):
    dataset, representation = data
    model = clip_adapter(dataset, representation, labelled, epochs=0, warmup_epochs=0, image_ratio=0.0, seed=0)
    expected = SCALE * unit(representation.arrays["embedding"]) @ unit(representation.arrays["text"]).T
    assert np.allclose(model.arrays["logits"], expected, atol=1e-3)
    groups = zero_shot_assignment(representation)
    assert np.array_equal(model.tables["predictions"]["prediction"], groups.tables["units"]["cluster"])


def test_warm_up_learns_the_pseudo_labels_of_the_training_images(data, labelled):
    dataset, representation = data
    model = clip_adapter(dataset, representation, labelled, epochs=40, warmup_epochs=40, batch_size=16, seed=0)
    units, label = labelled.arrays["train_units"], labelled.arrays["train_labels"]
    agree = (model.arrays["epoch_predictions"][:, units] == label).mean(axis=1)
    assert agree[-1] > 0.95


def test_main_loss_beside_its_definition():
    generator = torch.Generator().manual_seed(0)
    strong = torch.randn(6, 3, generator=generator, requires_grad=True)
    weak = (4 * torch.randn(6, 3, generator=generator)).requires_grad_()
    loss, sure, marginal = main_loss(strong, weak, 0.9, 0.3)
    p = softmax(weak.detach().numpy(), axis=1)
    chosen = p.max(axis=1) > 0.9
    assert 0 < chosen.sum() < 6
    log_q = np.log(softmax(strong.detach().numpy(), axis=1))
    mean = np.exp(log_q).mean(axis=0)
    term = (mean * np.log(mean + 1e-6)).sum()
    expected = -log_q[chosen, p.argmax(axis=1)[chosen]].mean() + 0.3 * term
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert marginal == pytest.approx(term, rel=1e-5)
    assert sure == pytest.approx(chosen.mean())
    loss.backward()
    assert weak.grad is None  # no gradient through the labels
    assert strong.grad.abs().sum() > 0


def test_no_confident_image_leaves_the_marginal_term_alone():
    strong = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    loss, sure, marginal = main_loss(strong, torch.zeros(4, 3), 0.9, 0.3)
    assert sure == 0
    assert loss.item() == pytest.approx(0.3 * marginal)


def test_bad_input_is_named(data, labelled):
    dataset, representation = data
    groups = zero_shot_assignment(representation)
    arrays = representation.arrays

    def changed(**new):
        return Representation(representation.tables, {**arrays, **new}, meta=representation.meta)

    with pytest.raises(ValueError, match="no class embeddings"):
        zero_shot_assignment(Representation(representation.tables, {"embedding": arrays["embedding"]}))
    with pytest.raises(ValueError, match="1 class"):
        zero_shot_assignment(changed(text=arrays["text"][:1]))
    broken = arrays["embedding"].copy()
    broken[3, 0] = np.nan
    with pytest.raises(ValueError, match="'embedding' are zero or not finite, first 3"):
        zero_shot_assignment(changed(embedding=broken))
    with pytest.raises(ValueError, match="cache: min 9 is above max 5"):
        representative_cache(dataset, representation, groups, cache=CacheSize(max=5))
    with pytest.raises(ValueError, match="no soft groups"):
        representative_cache(dataset, representation, Clusters({"units": groups.tables["units"]}))
    few = dataset.samples.assign(split=["train"] * 3 + ["test"] * (len(dataset.samples) - 3))
    with pytest.raises(ValueError, match="3 unlabeled images for 4 classes"):
        representative_cache(Dataset({"samples": few}), representation, groups)
    with pytest.raises(ValueError, match="warmup_epochs"):
        clip_adapter(dataset, representation, labelled, epochs=1, warmup_epochs=2, seed=0)
    without = Representation(
        representation.tables, {k: v for k, v in arrays.items() if k != "views"}, meta=representation.meta
    )
    with pytest.raises(ValueError, match="augmented"):
        clip_adapter(dataset, without, labelled, seed=0)
