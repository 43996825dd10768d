"""SwAV's step: one training step against its definition, the order of updates, and the collapse that codes prevent."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.artifacts import Dataset
from tasks.nn.encoder import image_tensor
from tasks.nn.projection_encoder import ProjectionEncoderSettings, build_projection_encoder
from tasks.nn.training import Optimizer
from tasks.prepare.digits import digits
from tasks.pretrain.swav import swav
from tasks.vision.augmentation import Augmentation
from tasks.vision.crop_views import Crops, crop_views

CROPS = [Crops(n=2, size=6, scale=[0.5, 1.0]), Crops(n=2, size=4, scale=[0.2, 0.5])]
CONV = ProjectionEncoderSettings(architecture="conv", widths=[4, 8], hidden=8, projection=5)
OPTIONS = {
    "encoder": CONV,
    "crops": CROPS,
    "augmentation": Augmentation(noise=0.05),
    "n_prototypes": 6,
    "epochs": 1,
    "batch_size": 16,
    "optimizer": Optimizer(lr=1e-2),
    "seed": 3,
}


def curve(representation, name):
    table = representation.tables["curves"]
    return table.loc[table["curve"] == name, "y"].to_numpy()


def first_loss(data: Dataset) -> float:
    """The loss of the first step by the paper's formulas, in numpy, on the views and weights that the seed gives."""
    network_stream, prototype_stream, training_stream = np.random.SeedSequence(3).spawn(3)
    network = build_projection_encoder(CONV, (6, 6, 1), int(network_stream.generate_state(1)[0])).train()
    generator = torch.Generator().manual_seed(int(prototype_stream.generate_state(1)[0]))
    bound = 1 / np.sqrt(5)
    prototypes = torch.empty(6, 5).uniform_(-bound, bound, generator=generator).numpy().astype(float)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    order, view_stream = training_stream.spawn(2)
    rows = np.random.default_rng(order).permutation(data.rows("train"))
    generator = torch.Generator().manual_seed(int(view_stream.generate_state(1)[0]))
    views = crop_views(image_tensor(data.arrays["images"][rows]), CROPS, Augmentation(noise=0.05), None, generator)
    with torch.no_grad():
        z = network.project(views).numpy().astype(float)
    total = 0.0
    for a in (0, 1):
        q = np.exp(z[a] @ prototypes.T / 0.05).T
        for _ in range(3):
            q /= q.sum(axis=1, keepdims=True)
            q /= q.sum(axis=0, keepdims=True)
        for v in range(4):
            if v != a:
                p = np.exp(z[v] @ prototypes.T / 0.1)
                p /= p.sum(axis=1, keepdims=True)
                total += -(q.T * np.log(p)).sum(axis=1).mean() / 3 / 2
    return total


def test_first_step_is_the_definition(dataset):
    result = swav(dataset(), **OPTIONS)
    result.check()
    assert curve(result, "loss")[0] == pytest.approx(first_loss(dataset()), rel=1e-5)


def test_shapes_and_unit_length(dataset):
    result = swav(dataset(), **{**OPTIONS, "epochs": 3, "snapshots": 2})
    assert result.arrays["embedding"].shape == (19, 8)
    assert result.arrays["projection"].shape == (19, 5)
    assert result.arrays["prototypes"].shape == (6, 5)
    for name in ("projection", "prototypes"):
        assert np.allclose(np.linalg.norm(result.arrays[name], axis=1), 1, atol=1e-6)
    assert result.tables["units"]["sample"].tolist() == list(range(19))
    assert result.arrays["snapshot_epochs"].tolist() == [0, 2, 3]
    assert np.array_equal(result.arrays["embedding_by_epoch"][-1], result.arrays["embedding"])
    assert len(curve(result, "prototype_entropy")) == 3


def test_prototypes_learn_only_after_they_are_thawed(dataset):
    start = swav(dataset(), **{**OPTIONS, "epochs": 0}).arrays["prototypes"]
    # Weight decay would move them too.
    decay = {"optimizer": Optimizer(name="sgd", lr=0.1, weight_decay=0.1)}
    for epochs in (1, 2):
        frozen = swav(dataset(), **{**OPTIONS, **decay, "epochs": epochs, "freeze_prototypes_epochs": 2})
        assert np.allclose(frozen.arrays["prototypes"], start, atol=1e-6)
    thawed = swav(dataset(), **{**OPTIONS, **decay, "epochs": 3, "freeze_prototypes_epochs": 2})
    assert np.abs(thawed.arrays["prototypes"] - start).max() > 1e-4


def test_snapshots_do_not_disturb_training(dataset):
    plain, watched = (swav(dataset(), **{**OPTIONS, "epochs": 4, "snapshots": s}) for s in (0, 4))
    assert np.array_equal(plain.arrays["embedding"], watched.arrays["embedding"])
    assert "embedding_by_epoch" not in plain.arrays


def test_queue_changes_codes_once_it_is_full(dataset):
    """One batch an epoch: three epochs fill the queue, the fourth is the first to be balanced over it."""
    options = {**OPTIONS, "epochs": 5, "queue_starts_epoch": 0}
    plain, queued = (
        curve(swav(dataset(), **{**options, "queue_length": n}), "loss") for n in (0, 3 * 16 + 5)
    )  # rounded down to three batches
    assert np.array_equal(plain[:3], queued[:3])
    assert plain[3] != queued[3]
    later = curve(swav(dataset(), **{**options, "queue_length": 48, "queue_starts_epoch": 1}), "loss")
    assert np.array_equal(plain[:4], later[:4])
    assert plain[4] != later[4]


def test_test_rows_and_labels_play_no_part(dataset):
    data, other = dataset(), dataset()
    other.arrays["images"][16:] = 0
    other.tables["samples"]["given_label"] = pd.Series([1] * 19, dtype="Int64")
    first, second = swav(data, **OPTIONS), swav(other, **OPTIONS)
    assert np.array_equal(first.arrays["embedding"][:16], second.arrays["embedding"][:16])
    assert np.array_equal(first.arrays["prototypes"], second.arrays["prototypes"])


def test_seed(dataset):
    first, again = swav(dataset(), **OPTIONS), swav(dataset(), **OPTIONS)
    assert np.array_equal(first.arrays["embedding"], again.arrays["embedding"])
    other = swav(dataset(), **{**OPTIONS, "seed": 4})
    assert not np.array_equal(first.arrays["embedding"], other.arrays["embedding"])


def test_lars_moves_each_layer_by_the_same_share(dataset):
    options = {**OPTIONS, "optimizer": Optimizer(name="sgd", lr=1.0, momentum=0.0), "lars_trust": 0.01}
    start = swav(dataset(), **{**options, "epochs": 0}).networks["encoder"].state
    end = swav(dataset(), **{**options, "freeze_prototypes_epochs": 0}).networks["encoder"].state
    for name, weight in start.items():
        if name.endswith("weight") and weight.ndim > 1:
            assert np.linalg.norm(end[name] - weight) / np.linalg.norm(weight) == pytest.approx(0.01, rel=1e-3)


def test_equipartition_is_what_prevents_collapse():
    data = digits(n_train=600, n_test=10)
    options = {
        "encoder": ProjectionEncoderSettings(widths=[64, 32], hidden=32, projection=16),
        "crops": [Crops(n=2, size=8, scale=[0.5, 1.0])],
        "n_prototypes": 20,
        "epochs": 25,
        "batch_size": 64,
        "optimizer": Optimizer(lr=2e-3),
        "seed": 0,
    }
    balanced, plain = (curve(swav(data, **options, sinkhorn_iterations=n), "prototype_entropy")[-1] for n in (3, 0))
    assert balanced > 0.9
    assert plain < 0.5


def test_warnings(dataset):
    with pytest.warns(UserWarning, match="2 images can hardly use 30 prototypes"):
        swav(dataset(), **{**OPTIONS, "n_prototypes": 30, "batch_size": 2})
    constant = dataset()
    constant.arrays["images"][:16] = 0.5
    with pytest.warns(UserWarning, match="all training images are equal"):
        swav(constant, **{**OPTIONS, "augmentation": Augmentation()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        swav(dataset(), **{**OPTIONS, "n_prototypes": 30, "batch_size": 2, "queue_length": 16})
        swav(dataset(), **OPTIONS)


def test_bad_input(dataset):
    with pytest.raises(ValueError, match="the first group has 1 view"):
        swav(dataset(), **{**OPTIONS, "crops": [Crops(n=1, size=6, scale=[0.5, 1.0])]})
    with pytest.raises(ValueError, match="size 4: an mlp needs the size of the images, 6 x 6"):
        swav(dataset(), **{**OPTIONS, "encoder": ProjectionEncoderSettings()})
    nothing = dataset()
    nothing.arrays.clear()
    with pytest.raises(ValueError, match="array 'images' is needed"):
        swav(nothing, **OPTIONS)
    with pytest.raises(ValueError, match="a single training image"):
        swav(dataset(n_train=1), **OPTIONS)
    broken = dataset()
    broken.arrays["images"][0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        swav(broken, **OPTIONS)
