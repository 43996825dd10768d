import numpy as np
import pandas as pd
import pytest

from tasks.artifacts import Dataset
from tasks.nn.early_stopping import hold_out
from tasks.nn.layerwise_autoencoder import AutoencoderSettings, autoencoder_from_config, clean_codes, clean_loss
from tasks.nn.training import Optimizer
from tasks.prepare.digits import digits
from tasks.pretrain.conv_autoencoder import conv_autoencoder

SETTINGS = AutoencoderSettings(
    maps=[4, 6], kernels=[3, 3], strides=[1, 2], padding=[1, 1], code=5, dropout=[0.1, 0.1, 0.0]
)
OPTIONS = {"autoencoder": SETTINGS, "epochs": 5, "batch_size": 20, "optimizer": Optimizer(lr=3e-3), "seed": 0}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(n_train=100, n_test=30)


def curve(result, name):
    table = result.tables["curves"]
    return table.loc[table["curve"] == name, "y"].to_numpy()


def test_codes_and_losses_are_those_of_the_network(data):
    result = conv_autoencoder(data, **OPTIONS)
    result.check()
    stored = result.networks["autoencoder"]
    network, every = autoencoder_from_config(stored.config, stored.state), np.arange(130)
    assert np.array_equal(result.arrays["embedding"], clean_codes(network, data.arrays["images"], every))
    assert result.meta["reconstruction"] == clean_loss(network, data.arrays["images"], every, 0.1)
    assert np.abs(result.arrays["embedding"]).max() < 1
    assert result.tables["units"]["sample"].tolist() == list(range(130))


def test_it_learns(data):
    start = conv_autoencoder(data, **{**OPTIONS, "epochs": 0})
    end = conv_autoencoder(data, **{**OPTIONS, "epochs": 25})
    assert end.meta["reconstruction"] < 0.5 * start.meta["reconstruction"]
    assert curve(end, "loss")[-1] < 0.5 * curve(end, "loss")[0]
    assert len(start.tables["curves"]) == 0


def test_the_best_weights_on_held_out_images_are_kept(data):
    """A learning rate at which the loss goes up and down."""
    options = {**OPTIONS, "epochs": 13, "optimizer": Optimizer(lr=0.1)}
    result = conv_autoencoder(data, **options)
    losses = curve(result, "held_out_loss")
    assert losses.argmin() < len(losses) - 1
    stored = result.networks["autoencoder"]
    network = autoencoder_from_config(stored.config, stored.state)
    held_stream = np.random.SeedSequence(0).spawn(4)[2]
    _, held = hold_out(np.arange(130), 0.1, np.random.default_rng(held_stream))
    assert clean_loss(network, data.arrays["images"], held, 0.1) == losses.min()


def test_patience_ends_training(data):
    options = {**OPTIONS, "epochs": 60, "optimizer": Optimizer(lr=0.03), "patience": 3}
    losses = curve(conv_autoencoder(data, **options), "held_out_loss")
    assert len(losses) < 60
    assert losses.argmin() == len(losses) - 1 - 3


def test_labels_play_no_part_and_the_seed_decides(data):
    first = conv_autoencoder(data, **OPTIONS)
    labelled = Dataset({"samples": data.samples.assign(given_label=data.samples["label"])}, data.arrays, meta=data.meta)
    again, other = conv_autoencoder(labelled, **OPTIONS), conv_autoencoder(data, **{**OPTIONS, "seed": 1})
    assert np.array_equal(first.arrays["embedding"], again.arrays["embedding"])
    assert not np.array_equal(first.arrays["embedding"], other.arrays["embedding"])


def test_only_train_on_request(data):
    changed = Dataset(data.tables, {"images": data.arrays["images"].copy()}, meta=data.meta)
    changed.arrays["images"][100:] = 0
    first, second = (conv_autoencoder(d, **OPTIONS, fit_on="train").arrays["embedding"] for d in (data, changed))
    assert np.array_equal(first[:100], second[:100])
    first, second = (conv_autoencoder(d, **OPTIONS).arrays["embedding"] for d in (data, changed))
    assert not np.array_equal(first[:100], second[:100])


def test_bad_input(data):
    with pytest.raises(ValueError, match="array 'images' is needed"):
        conv_autoencoder(Dataset(data.tables), **OPTIONS)
    one = pd.DataFrame({"sample": [0], "split": pd.Series(["train"], dtype="str")})
    with pytest.raises(ValueError, match="at least 2 are needed to hold one out"):
        conv_autoencoder(Dataset({"samples": one}, {"images": data.arrays["images"][:1]}), **OPTIONS)
    broken = Dataset(data.tables, {"images": np.full((130, 8, 8, 1), np.nan, np.float32)})
    with pytest.raises(FloatingPointError, match="loss is nan"):
        conv_autoencoder(broken, **OPTIONS)
