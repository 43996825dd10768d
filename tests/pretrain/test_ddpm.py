"""Features of the diffusion model: which block, which noise, which images."""

import hashlib

import numpy as np
import pytest
import torch

from tasks.artifacts import Checkpoint, Dataset
from tasks.checkpoint.ddpm import ddpm as train_ddpm
from tasks.diffusion.checkpoint import load_unet
from tasks.diffusion.process import add_noise, encode
from tasks.nn.encoder import image_tensor
from tasks.prepare.captioned_scenes import captioned_scenes
from tasks.pretrain.ddpm import Sweep, ddpm


@pytest.fixture(scope="module")
def dataset():
    return captioned_scenes(n_train=12, n_val=4, n_test=5, image_size=16, mode="single", grant="train").without_truth()


@pytest.fixture(scope="module")
def checkpoint(dataset):
    return train_ddpm(dataset, channels=[8, 16], head_width=8, groups=4, batch_size=4, epochs=1)


def test_feature_is_the_pooled_output_of_the_block_for_the_noisy_image(dataset, checkpoint):
    found = ddpm(dataset, checkpoint, block=6, t=90, pool=2, seed=3)
    found.check()
    rows = found.tables["units"]["sample"].to_numpy()
    assert rows.tolist() == [*range(12), *range(16, 21)]  # train and test
    unet = load_unet(checkpoint)
    x = encode(image_tensor(dataset.arrays["images"][rows]), 2)
    noise = torch.from_numpy(np.random.default_rng([3, 90]).standard_normal(x.shape, dtype=np.float32))
    kept = []
    hook = unet.up_blocks[0].resnets[0].register_forward_hook(lambda module, inputs, output: kept.append(output))
    attention = unet.up_blocks[0].attentions[0].register_forward_hook(lambda module, inputs, out: kept.append(out))
    with torch.no_grad():
        unet(add_noise(x, noise, torch.full((17,), 90)), torch.full((17,), 90))
    hook.remove()
    attention.remove()
    # The output, after attention: not the input of the next block, which has the skip's channels too.
    expected = kept[1].unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean(dim=(3, 5)).flatten(1)
    assert found.arrays["embedding"].shape == (17, 16 * 4)
    assert np.allclose(found.arrays["embedding"], expected.numpy(), atol=1e-5)
    assert not torch.equal(kept[0], kept[1])


def test_noise_is_by_seed_and_step_whatever_the_batches(dataset, checkpoint):
    one = ddpm(dataset, checkpoint, block=5, t=300, seed=0).arrays["embedding"]
    again = ddpm(dataset, checkpoint, block=5, t=300, seed=0).arrays["embedding"]
    cut = ddpm(dataset, checkpoint, block=5, t=300, batch_size=3, seed=0).arrays["embedding"]
    other = ddpm(dataset, checkpoint, block=5, t=300, seed=1).arrays["embedding"]
    assert np.array_equal(one, again)
    assert np.allclose(one, cut, atol=1e-5)
    assert not np.allclose(one, other, atol=1e-2)
    # Equal images get noise of their own.
    images = np.repeat(np.array(dataset.arrays["images"][:1]), len(dataset.samples), axis=0)
    same = ddpm(Dataset(dataset.tables, {"images": images}), checkpoint, block=5, t=300, seed=0).arrays["embedding"]
    assert not np.allclose(same[0], same[1], atol=1e-2)


def test_noise_follows_the_step(dataset, checkpoint):
    def spread(t):
        images = np.repeat(np.array(dataset.arrays["images"][:1]), len(dataset.samples), axis=0)
        copies = Dataset(dataset.tables, {"images": images})
        return ddpm(copies, checkpoint, block=1, t=t, seed=0).arrays["embedding"].std(axis=0).mean()

    assert spread(0) < 0.1 * spread(300) < spread(300) < spread(900)


def test_the_network_stays_as_it_is(dataset, checkpoint):
    def digest():
        state = checkpoint.networks["unet"].state
        return hashlib.sha256(b"".join(np.ascontiguousarray(state[k]).tobytes() for k in sorted(state))).hexdigest()

    before = digest()
    ddpm(dataset, checkpoint, block=4, t=10, seed=0)
    assert digest() == before


def test_random_weights_are_by_seed_and_not_those_trained(dataset, checkpoint):
    trained = ddpm(dataset, checkpoint, block=5, t=10, seed=0).arrays["embedding"]
    first, again = (ddpm(dataset, checkpoint, block=5, t=10, random_init=True, seed=0) for _ in range(2))
    assert np.array_equal(first.arrays["embedding"], again.arrays["embedding"])
    assert not np.allclose(first.arrays["embedding"], trained)


def test_sweep_holds_the_features_of_every_block(dataset, checkpoint):
    found = ddpm(dataset, checkpoint, block=4, t=50, sweep=Sweep(t=[0, 300], train=6), seed=0)
    found.check()
    chosen = found.arrays["sweep_samples"]
    assert chosen.tolist() == [*range(6), *range(12, 16)]  # six of train, and val
    widths = found.meta["block_widths"]
    assert widths == [c * 4 for c in (8, 8, 8, 16, 16, 16, 16, 8, 8)]
    assert found.arrays["sweep_300"].shape == (10, sum(widths))
    # The same images alone give the same features of a block.
    samples = dataset.samples.iloc[chosen].reset_index(drop=True).assign(sample=np.arange(10), split="train")
    alone = Dataset({"samples": samples}, {"images": np.array(dataset.arrays["images"])[chosen]})
    direct = ddpm(alone, checkpoint, block=6, t=300, seed=0).arrays["embedding"]
    start = sum(widths[:5])
    assert np.allclose(found.arrays["sweep_300"][:, start : start + widths[5]], direct, atol=2e-2)


def test_a_seed_draws_its_images_of_train(dataset, checkpoint):
    rows = [
        ddpm(dataset, checkpoint, block=1, t=0, train_images=7, seed=s).tables["units"]["sample"] for s in (0, 0, 1)
    ]
    assert len(rows[0]) == 12
    assert rows[0].equals(rows[1])
    assert not rows[0].equals(rows[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 0}, r"block: 0 is outside 1..9"),
        ({"block": 10}, r"block: 10 is outside 1..9"),
        ({"t": 1000}, r"t: 1000 is outside 0..999"),
        ({"t": -1}, "t: -1"),
        ({"pool": 5}, "pool: 5 is larger"),
        ({"train_images": 13}, "train_images: 13 of 12"),
    ],
)
def test_bad_settings_are_named(dataset, checkpoint, change, message):
    with pytest.raises(ValueError, match=message):
        ddpm(dataset, checkpoint, **{"block": 5, "t": 50, **change}, seed=0)


def test_needs_a_unet_and_fitting_images(dataset, checkpoint):
    with pytest.raises(ValueError, match="needs a network 'unet'"):
        ddpm(dataset, Checkpoint(), block=1, t=0, seed=0)
    grey = Dataset(dataset.tables, {"images": np.array(dataset.arrays["images"])[..., :1]})
    with pytest.raises(ValueError, match="images give 4 channels"):
        ddpm(grey, checkpoint, block=1, t=0, seed=0)
