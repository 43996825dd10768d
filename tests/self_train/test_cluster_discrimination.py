import numpy as np
import pandas as pd
import pytest
import torch

from tasks.artifacts import Dataset, Model, PseudoLabels
from tasks.nn.encoder import EncoderSettings, encoder_from_config, image_tensor
from tasks.nn.training import Optimizer
from tasks.self_train.cluster_discrimination import cluster_discrimination
from tasks.vision.augmentation import Augmentation

N, TRAIN, K = 90, 60, 12
SETTINGS = {
    "encoder": EncoderSettings(architecture="mlp", widths=[16, 8]),
    "optimizer": Optimizer(name="adamw", lr=5e-3),
    "scale": 16.0,
    "margin": 0.1,
    "margin_grad": "exact",
    "negative_ratio": 0.5,
    "epochs": 3,
    "batch_size": 16,
}


PROTOTYPES = np.random.default_rng(7).standard_normal((K, 16))


def dataset(seed: int = 0) -> Dataset:
    """Images around twelve prototypes."""
    rng = np.random.default_rng(seed)
    split = pd.Series(["train"] * TRAIN + ["test"] * (N - TRAIN), dtype="str")
    images = PROTOTYPES[rng.integers(K, size=N)] + 0.3 * rng.standard_normal((N, 16))
    samples = pd.DataFrame({"sample": np.arange(N), "split": split})
    return Dataset({"samples": samples}, {"images": images.reshape(N, 4, 4, 1).astype(np.float32)})


def pseudo_labels(l: int = 3) -> PseudoLabels:  # noqa: E741
    """The prototypes of largest inner product with each image."""
    nearest = np.argsort(-dataset().arrays["images"].reshape(N, 16) @ PROTOTYPES.T, axis=1)[:, :l]
    units = pd.DataFrame({"unit": np.arange(N), "sample": np.arange(N), "pseudo_label": nearest[:, 0]})
    return PseudoLabels({"units": units}, {"nearest": nearest}, meta={"n_clusters": K})


def run(data: Dataset | None = None, labels: PseudoLabels | None = None, seed: int = 0, **changes) -> Model:
    model = cluster_discrimination(
        data or dataset(), labels or pseudo_labels(), **{**SETTINGS, "loss": "mlcd", **changes}, seed=seed
    )
    model.check()
    return model


@pytest.mark.parametrize(("loss", "l"), [("mlcd", 3), ("mlc", 3), ("softmax", 1)])
def test_training_lowers_the_loss_and_parts_positives_from_negatives(loss, l):  # noqa: E741
    model = run(labels=pseudo_labels(l), loss=loss, epochs=30)
    losses = model.tables["curves"]["y"].to_numpy()
    assert len(losses) == 30
    assert losses[-3:].mean() < 0.7 * losses[:3].mean()
    gap = {
        w: model.arrays[f"cosine_positive_{w}"].mean() - model.arrays[f"cosine_negative_{w}"].mean()
        for w in ("before", "after")
    }
    assert abs(gap["before"]) < 0.25
    assert gap["after"] > gap["before"] + 0.3


def test_without_a_scale_nothing_is_learned():
    first, last = {}, {}
    for scale in (1.0, 16.0):
        losses = run(epochs=20, scale=scale).tables["curves"]["y"].to_numpy()
        first[scale], last[scale] = losses[0], losses[-1]
    # Cosines alone cannot leave the neighbourhood of log(1 + r k) + log(1 + l): nearly flat.
    assert last[1.0] > 0.7 * first[1.0]
    assert last[16.0] < 0.6 * first[16.0]


def test_the_embedding_is_the_backbone_feature_of_every_sample():
    data = dataset()
    model = run(data, encoder=EncoderSettings(architecture="mlp", widths=[16, 8], projection=[5]))
    network = model.networks["encoder"]
    rebuilt = encoder_from_config(network.config, network.state)
    with torch.no_grad():
        expected = rebuilt.backbone(image_tensor(data.arrays["images"])).numpy()
    assert model.arrays["embedding"].shape == (N, 8)
    assert model.arrays["embedding"].dtype == np.float32
    assert np.allclose(model.arrays["embedding"], expected, atol=1e-6)


def test_only_train_rows_are_trained_on():
    data, labels = dataset(), pseudo_labels()
    changed_data, changed_labels = dataset(), pseudo_labels()
    changed_data.arrays["images"][TRAIN:] = 0.5
    changed_labels.arrays["nearest"][TRAIN:] = changed_labels.arrays["nearest"][TRAIN:][::-1]
    first, second = run(data, labels), run(changed_data, changed_labels)
    for name, value in first.networks["encoder"].state.items():
        assert np.array_equal(value, second.networks["encoder"].state[name])
    assert np.array_equal(first.arrays["embedding"][:TRAIN], second.arrays["embedding"][:TRAIN])


def test_no_epochs_is_the_random_initialisation():
    model = run(epochs=0)
    assert len(model.tables["curves"]) == 0
    for sign in ("positive", "negative"):
        before, after = (model.arrays[f"cosine_{sign}_{when}"] for when in ("before", "after"))
        assert np.array_equal(before, after)
    other = run(epochs=0, loss="mlc")
    assert np.array_equal(model.arrays["embedding"], other.arrays["embedding"])


def test_cosines_cover_all_positives_and_no_positive_is_a_negative():
    every_class_but_one = pseudo_labels(l=K - 1)
    model = run(labels=every_class_but_one, epochs=1)
    assert len(model.arrays["cosine_positive_after"]) == TRAIN * (K - 1)
    # 60 images, 32 draws each out of 12 classes, of which 1 is a negative.
    assert 60 * 32 / 12 * 0.6 < len(model.arrays["cosine_negative_after"]) < 60 * 32 / 12 * 1.5


def test_negative_ratio_margin_and_augmentation_matter():
    base = run().arrays["embedding"]
    changes = (
        {"negative_ratio": 1.0},
        {"margin": 0.3},
        {"margin_grad": "straight_through"},
        {"augmentation": Augmentation(noise=0.2)},
    )
    for change in changes:
        assert not np.array_equal(base, run(**change).arrays["embedding"])


def test_same_seed_is_bit_equal_and_another_differs():
    first, again, other = (run(seed=s, augmentation=Augmentation(noise=0.1, shift=1)) for s in (0, 0, 1))
    for name, array in first.arrays.items():
        assert array.tobytes() == again.arrays[name].tobytes()
    assert first.tables["curves"].equals(again.tables["curves"])
    assert not np.array_equal(first.arrays["embedding"], other.arrays["embedding"])


def test_global_random_state_is_untouched():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    run(epochs=1, augmentation=Augmentation(noise=0.1))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_nearly_the_same():
    on_cpu, on_gpu = (run(epochs=1, device=d).arrays["embedding"] for d in ("cpu", "cuda"))
    assert np.allclose(on_cpu, on_gpu, atol=1e-3)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="loss: softmax takes one positive per image, the pseudo-labels give 3"):
        run(loss="softmax")
    with pytest.raises(ValueError, match=r"negative_ratio = 0.04 draws none of 12 classes"):
        run(negative_ratio=0.04)
    with pytest.raises(ValueError, match=r"'nearest' has labels outside 0\.\.2"):
        run(labels=PseudoLabels(pseudo_labels().tables, pseudo_labels().arrays, meta={"n_clusters": 3}))
    with pytest.raises(ValueError, match="array 'nearest' is needed"):
        run(labels=PseudoLabels(meta={"step": "none"}))
    short = pseudo_labels()
    short.tables["units"] = short.tables["units"][:-1]
    with pytest.raises(ValueError, match="89 units for 90 samples"):
        run(labels=short)
    data = dataset()
    data.tables["samples"]["split"] = "test"
    with pytest.raises(ValueError, match="no sample has split 'train'"):
        run(data)
    with pytest.raises(ValueError, match="array 'images' is needed"):
        run(Dataset(dataset().tables))
