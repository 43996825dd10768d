"""The chain of SBCL: warm-up, subclasses, labels and self-training, and its baseline."""

import importlib

import numpy as np
import pytest

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.cluster.within_class_kmeans import within_class_kmeans
from tasks.nn.encoder import EncoderSettings, encoder_from_config
from tasks.nn.training import Optimizer
from tasks.prepare.digit_pairs_lt import digit_pairs_lt
from tasks.pretrain.supervised_contrastive import supervised_contrastive as warm_up
from tasks.pseudo_label.subclass_labels import subclass_labels
from tasks.self_train.subclass_contrastive import subclass_contrastive
from tasks.self_train.supervised_contrastive import supervised_contrastive as continue_supcon
from tasks.vision.augmentation import Augmentation

TRAINING = {"augmentation": Augmentation(shift=1, contrast=0.2, noise=0.1), "batch_size": 64}
OPTIMIZER = Optimizer(lr=2e-3)
ENCODER = EncoderSettings(widths=[32, 16], projection=[16, 8])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digit_pairs_lt(heads=2, head_size=60, tails=3, tail_size=10, test_per_class=5).without_truth()


@pytest.fixture(scope="module")
def warm(dataset) -> Representation:
    return warm_up(dataset, encoder=ENCODER, epochs=3, optimizer=OPTIMIZER, **TRAINING, seed=0)


@pytest.fixture(scope="module")
def labeled(dataset, warm) -> tuple[Clusters, PseudoLabels]:
    clusters = within_class_kmeans(dataset, warm, min_size=10, n_iter=5, seed=0)
    return clusters, subclass_labels(dataset, warm, clusters)


def train_subclasses(dataset, warm, labeled, seed=0, **options):
    options = {"epochs": 3, "update_every": 1, "optimizer": OPTIMIZER, **TRAINING, **options}
    model = subclass_contrastive(dataset, warm, *labeled, **options, seed=seed)
    model.check()
    return model


def sizes(model, dataset, label) -> list[int]:
    rows = dataset.rows("train")
    rows = rows[dataset.labels("given_label", rows) == label]
    return sorted(np.unique(model.arrays["subclass"][rows], return_counts=True)[1].tolist())


def test_warm_up(dataset, warm):
    warm.check()
    train = dataset.rows("train")
    assert warm.tables["units"]["sample"].tolist() == train.tolist()
    z = warm.arrays["embedding"]
    assert z.shape == (150, 8)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    assert warm.meta["temperature"] == 0.1
    curve = warm.tables["curves"]
    assert curve["x"].tolist() == [1, 2, 3]
    assert curve["y"].iloc[-1] < curve["y"].iloc[0]
    longer = warm_up(dataset, encoder=ENCODER, epochs=20, optimizer=OPTIMIZER, **TRAINING, seed=0)
    label = dataset.labels("given_label", train)
    cosine = longer.arrays["embedding"] @ longer.arrays["embedding"].T
    same = label[:, None] == label
    assert cosine[same].mean() > cosine[~same].mean() + 0.3


def test_warm_up_options_and_seed(dataset):
    options = {"encoder": ENCODER, "epochs": 1, "optimizer": OPTIMIZER, **TRAINING}
    first, again, other = (warm_up(dataset, **options, seed=s).arrays["embedding"] for s in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    with_queue = warm_up(dataset, **options, queue=128, positives=2, seed=0)
    with_queue.check()
    assert with_queue.arrays["embedding"].tobytes() != first.tobytes()
    untrained = warm_up(dataset, **(options | {"epochs": 0}), seed=0)
    assert len(untrained.tables["curves"]) == 0


def test_supcon_goes_on_from_the_warm_up(dataset, warm):
    options = {"optimizer": OPTIMIZER, **TRAINING}
    still = continue_supcon(dataset, warm, epochs=0, **options, seed=0)
    still.check()
    for name, value in warm.networks["encoder"].state.items():
        assert (still.networks["encoder"].state[name] == value).all()
    first, again, other = (continue_supcon(dataset, warm, epochs=2, **options, seed=s) for s in (0, 0, 1))
    assert first.arrays["embedding"].tobytes() == again.arrays["embedding"].tobytes()
    assert first.arrays["embedding"].tobytes() != other.arrays["embedding"].tobytes()
    assert first.arrays["embedding"].shape == (len(dataset.samples), 16)
    assert first.tables["curves"]["y"].iloc[0] < warm.tables["curves"]["y"].iloc[0]


def test_embedding_is_the_backbones_feature_of_every_sample(dataset, warm, labeled):
    model = train_subclasses(dataset, warm, labeled)
    network = encoder_from_config(model.networks["encoder"].config, model.networks["encoder"].state)
    import torch

    with torch.no_grad():
        expected = network.backbone(torch.from_numpy(np.array(dataset.arrays["images"]))).numpy()
    np.testing.assert_allclose(model.arrays["embedding"], expected, rtol=1e-4, atol=1e-5)


def test_the_last_subclasses_are_kept_and_nest_in_classes(dataset, warm, labeled):
    model = train_subclasses(dataset, warm, labeled)
    subclass, rows = model.arrays["subclass"], dataset.rows("train")
    assert (np.delete(subclass, rows) == -1).all()
    assert sorted(set(subclass[rows])) == list(range(6 + 6 + 3))
    label = dataset.labels("given_label", rows)
    assert all(len(set(label[subclass[rows] == s])) == 1 for s in range(15))
    assert model.arrays["class_temperature"].shape == (5,)
    kept = model.tables["curves"].query("curve == 'subclasses kept'")
    assert kept["x"].tolist() == [1, 2]
    assert kept["y"].between(-1, 1).all()


def test_update_interval(dataset, warm, labeled):
    rare = train_subclasses(dataset, warm, labeled, update_every=5)
    units = labeled[0].tables["units"]
    assert (rare.arrays["subclass"][units["sample"]] == units["cluster"]).all()
    assert (rare.arrays["class_temperature"] == labeled[1].arrays["class_temperature"]).all()
    assert set(rare.tables["curves"]["curve"]) == {"loss"}
    often = train_subclasses(dataset, warm, labeled)
    assert (often.arrays["subclass"] != rare.arrays["subclass"]).any()


def test_settings_of_the_stages_before_govern_later_clusterings(dataset, warm, labeled, monkeypatch):
    module = importlib.import_module("tasks.self_train.subclass_contrastive")
    calls = []

    def record(step):
        def call(*inputs, **options):
            calls.append((step.__name__, {k: v for k, v in options.items() if k != "seed"}))
            return step(*inputs, **options)

        return call

    monkeypatch.setattr(module, "within_class_kmeans", record(within_class_kmeans))
    monkeypatch.setattr(module, "subclass_labels", record(subclass_labels))
    given = {"min_size": 20, "metric": "cosine", "balanced": False, "assignment": "random", "n_iter": 4}
    clusters = within_class_kmeans(dataset, warm, **given, seed=0)
    form = {"class_temperature": "constant", "clip_percentiles": [10.0, 90.0], "constant": 0.2, "temperature": 0.3}
    model = train_subclasses(dataset, warm, (clusters, subclass_labels(dataset, warm, clusters, **form)))
    assert calls == [("within_class_kmeans", given), ("subclass_labels", form)] * 2
    assert model.arrays["class_temperature"].tolist() == [np.float32(0.2)] * 5
    assert len(sizes(model, dataset, 0)) == 3


def test_cap_holds_after_every_clustering(dataset, warm, labeled):
    assert sizes(train_subclasses(dataset, warm, labeled), dataset, 0) == [10] * 6


def test_seed_and_weights(dataset, warm, labeled):
    first, again, other = (train_subclasses(dataset, warm, labeled, seed=s) for s in (0, 0, 1))
    assert first.arrays["embedding"].tobytes() == again.arrays["embedding"].tobytes()
    assert (first.arrays["subclass"] == again.arrays["subclass"]).all()
    assert first.arrays["embedding"].tobytes() != other.arrays["embedding"].tobytes()
    without = train_subclasses(dataset, warm, labeled, class_weight=0.0)
    assert first.arrays["embedding"].tobytes() != without.arrays["embedding"].tobytes()


def test_queue_and_momentum_encoder(dataset, warm, labeled):
    first, again = (train_subclasses(dataset, warm, labeled, queue=100, momentum=0.9) for _ in range(2))
    assert first.arrays["embedding"].tobytes() == again.arrays["embedding"].tobytes()
    assert first.arrays["embedding"].tobytes() != train_subclasses(dataset, warm, labeled).arrays["embedding"].tobytes()
    # The follower of momentum 1 - 1e-9 never moves: clusterings of one network differ by their start only.
    still = train_subclasses(dataset, warm, labeled, queue=100, momentum=1 - 1e-9, epochs=2)
    rows = dataset.rows("train")
    stream = np.random.SeedSequence(0).spawn(2)[1].generate_state(2)
    expected = within_class_kmeans(dataset, warm, **labeled[0].meta["settings"], seed=int(stream[1]))
    assert (still.arrays["subclass"][rows] == expected.tables["units"]["cluster"]).mean() > 0.95


def test_augmentation_and_temperature_are_the_warm_ups_unless_given(dataset, warm):
    options = {"epochs": 1, "optimizer": OPTIMIZER, "batch_size": 64, "seed": 0}
    stated = {"augmentation": TRAINING["augmentation"], "temperature": 0.1}
    default = continue_supcon(dataset, warm, **options).arrays["embedding"]
    assert default.tobytes() == continue_supcon(dataset, warm, **stated, **options).arrays["embedding"].tobytes()
    for other in (stated | {"augmentation": Augmentation(noise=0.2)}, stated | {"temperature": 0.5}):
        assert default.tobytes() != continue_supcon(dataset, warm, **other, **options).arrays["embedding"].tobytes()


def test_one_subclass_per_class_and_no_class_term_is_supcon(dataset, warm):
    with pytest.warns(UserWarning, match="single subclass"):
        clusters = within_class_kmeans(dataset, warm, min_size=1000, seed=0)
    labels = subclass_labels(dataset, warm, clusters)
    options = {"subclass_weight": 1.0, "class_weight": 0.0, "update_every": 10, "epochs": 1}
    subclasses = train_subclasses(dataset, warm, (clusters, labels), **options)
    classes = continue_supcon(dataset, warm, epochs=1, optimizer=OPTIMIZER, **TRAINING, seed=0)
    np.testing.assert_allclose(subclasses.tables["curves"]["y"], classes.tables["curves"]["y"], rtol=1e-5)
    np.testing.assert_allclose(subclasses.arrays["embedding"], classes.arrays["embedding"], rtol=1e-3, atol=1e-4)


def test_bad_input(dataset, warm, labeled):
    clusters, labels = labeled
    bare = Representation(warm.tables, warm.arrays, meta=warm.meta)
    with pytest.raises(ValueError, match="network 'encoder' is needed"):
        train_subclasses(dataset, bare, labeled)
    with pytest.raises(ValueError, match="network 'encoder' is needed"):
        continue_supcon(dataset, bare, epochs=1, optimizer=OPTIMIZER, **TRAINING, seed=0)
    nothing = (Clusters(meta={"step": "none"}), PseudoLabels(meta={"step": "none"}))
    still = Representation(warm.tables, warm.arrays, warm.networks, {"temperature": 0.1})
    with pytest.raises(ValueError, match="set 'augmentation'"):
        continue_supcon(dataset, still, epochs=1, batch_size=8, optimizer=OPTIMIZER, seed=0)
    with pytest.raises(ValueError, match=r"use cluster\.within_class_kmeans"):
        train_subclasses(dataset, warm, nothing)
    partial = PseudoLabels({"units": labels.tables["units"].iloc[5:]}, labels.arrays, meta=labels.meta)
    with pytest.raises(ValueError, match="5 training rows have no subclass"):
        train_subclasses(dataset, warm, (clusters, partial))
    with pytest.raises(ValueError, match="set 'temperature'"):
        continue_supcon(
            dataset,
            Representation(warm.tables, warm.arrays, warm.networks),
            epochs=1,
            optimizer=OPTIMIZER,
            **TRAINING,
            seed=0,
        )


@pytest.mark.slow
def test_subclasses_keep_the_structure_that_supcon_forgets():
    from tasks.evaluate.linear_probe import linear_probe

    full = digit_pairs_lt()
    dataset = full.without_truth()
    training = TRAINING | {"batch_size": 256}
    encoder = EncoderSettings(widths=[128, 64], projection=[64, 32])
    decayed = Optimizer(lr=2e-3, weight_decay=1e-4, schedule="cosine")
    gains = []
    for seed in range(2):
        warm = warm_up(dataset, encoder=encoder, epochs=10, optimizer=OPTIMIZER, **training, seed=seed)
        clusters = within_class_kmeans(dataset, warm, min_size=20, n_iter=15, seed=seed)
        labels = subclass_labels(dataset, warm, clusters)
        options = {"epochs": 50, "optimizer": decayed, **training, "seed": seed}
        models = (
            subclass_contrastive(dataset, warm, clusters, labels, **options),
            continue_supcon(dataset, warm, **options),
        )
        subclasses, classes = (linear_probe(full, model, seed=seed).values["balanced_accuracy"] for model in models)
        gains.append(subclasses - classes)
    assert np.mean(gains) > 0.01
