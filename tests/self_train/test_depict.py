"""DEPICT's training: one step against its definition, the alternation of P and Q, what the targets do."""

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from tasks.artifacts import Clusters, Dataset, PseudoLabels, Representation
from tasks.cluster.kmeans import kmeans
from tasks.clustering.target_distribution import target_assignments
from tasks.nn.early_stopping import hold_out
from tasks.nn.layerwise_autoencoder import AutoencoderSettings, autoencoder_from_config, signed_images
from tasks.nn.training import Optimizer
from tasks.prepare.digits import digits
from tasks.pretrain.conv_autoencoder import conv_autoencoder
from tasks.pseudo_label.target_distribution import target_distribution
from tasks.self_train.depict import centroid_layer, depict

OPTIONS = {"warmup_epochs": 0, "epochs": 1, "batch_size": 150, "optimizer": Optimizer(lr=1e-3), "seed": 0}
K = 6
Inputs = tuple[Dataset, Representation, Clusters, PseudoLabels]


def prepared(dropout: list[float], mode: str = "squared", n: int = 150) -> Inputs:
    dataset = digits(n_train=n, n_test=0)
    settings = AutoencoderSettings(maps=[8, 8], kernels=[3, 3], strides=[1, 2], padding=[1, 1], code=6, dropout=dropout)
    representation = conv_autoencoder(
        dataset, autoencoder=settings, epochs=25, batch_size=25, optimizer=Optimizer(lr=3e-3), seed=0
    )
    clusters = kmeans(dataset, representation, k=K, n_init=10, fit_on="all", seed=0)
    return dataset, representation, clusters, target_distribution(representation, clusters, mode=mode)


@pytest.fixture(scope="module")
def noisy() -> Inputs:
    return prepared([0.1, 0.1, 0.0])


@pytest.fixture(scope="module")
def clean() -> Inputs:
    return prepared([0.0, 0.0, 0.0])


def with_mode(inputs: Inputs, mode: str) -> Inputs:
    return (*inputs[:3], target_distribution(inputs[1], inputs[2], mode=mode))


def curve(model, name):
    table = model.tables["curves"]
    return table.loc[table["curve"] == name, "y"].to_numpy()


def network_of_start(inputs: Inputs):
    stored = inputs[1].networks["autoencoder"]
    return autoencoder_from_config(stored.config, stored.state), centroid_layer(inputs[2].arrays["centroids"])


def expected_loss(inputs: Inputs, target: torch.Tensor, rows: np.ndarray, rec: float, clus: float) -> float:
    """c_0 |x|, 0.1 of the hidden levels, and -sum q log p, of a network without dropout."""
    autoencoder, layer = network_of_start(inputs)
    x = signed_images(inputs[0].arrays["images"][rows])
    with torch.no_grad():
        levels, code = autoencoder.encode(x)
        errors = [((d - z) ** 2).mean().item() for d, z in zip(autoencoder.decode(code), levels, strict=True)]
        log_p = torch.log_softmax(layer(code), dim=1)
    entropy = -(target * log_p).sum(dim=1).mean().item()
    return rec * (errors[0] + 0.1 * (errors[1] + errors[2])) + clus * entropy


def test_without_training_the_layer_of_unit_centroids_decides(noisy):
    model = depict(*noisy, **{**OPTIONS, "epochs": 0})
    model.check()
    assert np.allclose(model.arrays["probability"], noisy[3].arrays["probability"], atol=1e-5)
    assert np.array_equal(model.tables["predictions"]["prediction"], noisy[3].arrays["probability"].argmax(axis=1))
    assert model.arrays["labels_by_epoch"].shape == (1, 150)
    assert model.meta["reconstruction_after"] == model.meta["reconstruction_before"]
    assert model.meta["stop_epoch"] == 0


@pytest.mark.parametrize(("rec", "clus"), [(1.0, 1.0), (0.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("mode", ["squared", "sqrt", "hard"])
def test_first_step_is_the_definition(clean, mode, rec, clus):
    inputs = with_mode(clean, mode)
    model = depict(*inputs, **OPTIONS, rec_weight=rec, clus_weight=clus)
    # The targets of epoch 0 are those of the stage before, since nothing was warmed up.
    target = torch.from_numpy(np.array(inputs[3].arrays["target"]))
    assert curve(model, "loss")[0] == pytest.approx(expected_loss(inputs, target, np.arange(150), rec, clus), rel=1e-4)


def test_warm_up_is_cross_entropy_with_the_clusters(clean):
    model = depict(*clean, **{**OPTIONS, "warmup_epochs": 1, "epochs": 0})
    rows, _ = hold_out(np.arange(150), 0.1, np.random.default_rng(np.random.SeedSequence(0).spawn(4)[1]))
    hard = np.eye(K, dtype=np.float32)[clean[2].tables["units"]["cluster"].to_numpy()[rows]]
    assert curve(model, "warmup_loss")[0] == pytest.approx(
        expected_loss(clean, torch.from_numpy(hard), rows, 1, 1), rel=1e-4
    )


def test_warm_up_learns_the_clusters_and_stops(noisy):
    model = depict(*noisy, **{**OPTIONS, "warmup_epochs": 200, "epochs": 0, "batch_size": 25})
    cluster = noisy[2].tables["units"]["cluster"]
    assert len(curve(model, "warmup_loss")) < 200
    assert normalized_mutual_info_score(cluster, model.arrays["labels_by_epoch"][0]) > 0.8


def test_the_noisy_path_is_what_learns(noisy, clean):
    """With dropout the loss differs from that of the clean path, and another seed draws other noise."""
    target = torch.from_numpy(np.array(noisy[3].arrays["target"]))
    of_clean = expected_loss(noisy, target, np.arange(150), 1, 1)
    losses = [curve(depict(*noisy, **{**OPTIONS, "seed": seed}), "loss")[0] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] > of_clean + 1e-3


def test_the_next_target_comes_from_clean_p_stored_after_each_update(clean):
    """Two batches: P of the first is that after one update, of the second that after two; no row is left out."""
    options = {**OPTIONS, "batch_size": 100, "tol": 0.0}
    inputs = clean
    autoencoder, layer = network_of_start(inputs)
    images, target = inputs[0].arrays["images"], np.array(inputs[3].arrays["target"])
    optimizer = torch.optim.Adam([*autoencoder.parameters(), *layer.parameters()], lr=1e-3)
    order = np.random.default_rng(np.random.SeedSequence(0).spawn(4)[3]).permutation(150)
    p = np.full((150, K), np.nan)
    for rows in (order[:100], order[100:]):
        x = signed_images(images[rows])
        levels, code = autoencoder.encode(x)
        decoded = autoencoder.decode(code)
        errors = [((d - z) ** 2).mean() for d, z in zip(decoded, levels, strict=True)]
        entropy = -(torch.from_numpy(target[rows]) * torch.log_softmax(layer(code), dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        (errors[0] + 0.1 * (errors[1] + errors[2]) + entropy).backward()
        optimizer.step()
        with torch.no_grad():
            p[rows] = torch.softmax(layer(autoencoder(x)), dim=1).numpy()
    change = np.square(target_assignments(p / p.sum(axis=1, keepdims=True), "squared") - target).mean()
    model = depict(*inputs, **options)
    assert curve(model, "target_change")[0] == pytest.approx(change, rel=1e-3)
    assert np.array_equal(model.arrays["labels_by_epoch"][1], p.argmax(axis=1))


def test_it_ends_when_targets_stand_still(noisy):
    model = depict(*noisy, **{**OPTIONS, "epochs": 50, "batch_size": 25, "tol": 1.0})
    assert model.meta["stop_epoch"] == 1
    assert len(model.arrays["labels_by_epoch"]) == 2
    assert depict(*noisy, **{**OPTIONS, "epochs": 3, "tol": 0.0}).meta["stop_epoch"] == 3


def test_squared_targets_sharpen_and_square_roots_hardly(noisy):
    options = {**OPTIONS, "warmup_epochs": 5, "epochs": 20, "batch_size": 25}
    top = {}
    for mode in ("squared", "sqrt"):
        model = depict(*with_mode(noisy, mode), **options)
        top[mode] = model.arrays["probability"].max(axis=1).mean()
        assert model.meta["reconstruction_after"] < 2 * model.meta["reconstruction_before"]
    assert top["squared"] > top["sqrt"] + 0.2


def test_reconstruction_is_lost_without_its_term(noisy):
    options = {**OPTIONS, "warmup_epochs": 5, "epochs": 20, "batch_size": 25, "rec_weight": 0.0}
    model = depict(*noisy, **options)
    assert model.meta["reconstruction_after"] > 1.5 * model.meta["reconstruction_before"]


def test_square_roots_without_dropout_have_next_to_nothing_to_learn(clean):
    """Q is P but for the balance, so the clustering loss has hardly a gradient where clusters are even."""
    options = {**OPTIONS, "rec_weight": 0.0, "epochs": 10, "batch_size": 25, "optimizer": Optimizer(name="sgd", lr=0.1)}
    change = {
        mode: curve(depict(*with_mode(clean, mode), **options), "target_change").sum() for mode in ("squared", "sqrt")
    }
    assert change["sqrt"] < 0.1 * change["squared"]


def test_labels_play_no_part(noisy):
    dataset = noisy[0]
    samples = dataset.samples.assign(label=dataset.samples["label"].to_numpy()[::-1])
    other = Dataset({"samples": samples}, dataset.arrays, meta=dataset.meta)
    options = {**OPTIONS, "warmup_epochs": 2, "epochs": 2}
    first, second = (depict(d, *noisy[1:], **options).arrays["probability"] for d in (dataset, other))
    assert np.array_equal(first, second)


def test_bad_input(noisy):
    dataset, representation, clusters, labels = noisy
    bare = Representation(representation.tables, representation.arrays, meta=representation.meta)
    with pytest.raises(ValueError, match="network 'autoencoder' is needed"):
        depict(dataset, bare, clusters, labels, **OPTIONS)
    few = Clusters({"units": clusters.tables["units"].iloc[:4]}, clusters.arrays, meta=clusters.meta)
    with pytest.raises(ValueError, match="4 units for 150 samples"):
        depict(dataset, representation, few, labels, **OPTIONS)
    same = Clusters(clusters.tables, {"centroids": np.ones((K, 6), np.float32)}, meta=clusters.meta)
    with pytest.raises(ValueError, match="have one direction"):
        depict(dataset, representation, same, labels, **OPTIONS)
    with pytest.raises(FloatingPointError, match=r"lower optimizer\.lr"):
        depict(*noisy, **{**OPTIONS, "epochs": 60, "optimizer": Optimizer(name="sgd", lr=1e30)})


def test_too_many_clusters_and_equal_images_are_refused_by_the_clustering(noisy):
    dataset, representation = noisy[:2]
    with pytest.raises(ValueError, match="k = 151 is more than the 150 rows"):
        kmeans(dataset, representation, k=151, fit_on="all", seed=0)
    equal = Representation(representation.tables, {"embedding": np.ones((150, 6), np.float32)})
    with pytest.raises(ValueError, match="k = 6 is more than the 1 distinct rows"):
        kmeans(dataset, equal, k=K, fit_on="all", seed=0)
