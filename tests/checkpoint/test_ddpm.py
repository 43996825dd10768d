"""The small diffusion model: what is trained, what is stored, what is refused."""

import numpy as np
import pytest
import torch

from tasks.artifacts import Checkpoint, Dataset
from tasks.checkpoint.ddpm import ddpm
from tasks.checkpoint.public_unet import public_unet
from tasks.diffusion.checkpoint import load_unet
from tasks.diffusion.process import add_noise, ddim_sample, encode
from tasks.nn.encoder import image_tensor
from tasks.prepare.captioned_scenes import captioned_scenes

SMALL = {"channels": [8, 16], "head_width": 8, "groups": 4, "batch_size": 8}


@pytest.fixture(scope="module")
def dataset():
    return captioned_scenes(n_train=16, n_test=4, image_size=16, captions=True, grant="train").without_truth()


@pytest.fixture(scope="module")
def trained(dataset):
    checkpoint = ddpm(dataset, **SMALL, epochs=2)
    checkpoint.check()
    return checkpoint


def same(a, b):
    return all(np.array_equal(v, b.networks["unet"].state[k]) for k, v in a.networks["unet"].state.items())


def test_equal_seeds_give_equal_bits_whatever_the_global_state(dataset, trained):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    again = ddpm(dataset, **SMALL, epochs=2)
    assert torch.equal(torch.rand(1), expected)
    assert same(trained, again)
    assert not same(trained, ddpm(dataset, **SMALL, epochs=2, seed=1))


def test_captions_labels_and_test_images_are_not_looked_at(dataset, trained):
    images = np.array(dataset.arrays["images"])
    images[dataset.rows("test")] = 0
    samples = dataset.samples.drop(columns="given_label")
    assert same(trained, ddpm(Dataset({"samples": samples}, {"images": images}), **SMALL, epochs=2))


def test_the_moving_average_is_stored(dataset):
    start = ddpm(dataset, **SMALL, epochs=0)
    slow, fast = (ddpm(dataset, **SMALL, epochs=2, ema=e) for e in (0.9999, 0.0))
    first, near, far = (c.networks["unet"].state["conv_in.weight"] for c in (start, slow, fast))
    assert 0 < np.abs(near - first).max() < 0.01 * np.abs(far - first).max()


def test_read_back_after_a_round_trip(trained, tmp_path):
    trained.save(tmp_path / "checkpoint")
    unet = load_unet(Checkpoint.load(tmp_path / "checkpoint"))
    x, t = torch.randn(2, 12, 8, 8), torch.tensor([0, 500])
    assert torch.equal(unet(x, t), load_unet(trained)(x, t))
    assert not any(p.requires_grad for p in unet.parameters())
    assert not unet.training


@pytest.mark.slow
def test_declared_size_learns_to_tell_noise_and_draws_images():
    scenes = captioned_scenes(n_train=4000, mode="single").without_truth()
    checkpoint = ddpm(scenes)
    assert checkpoint.tables["curves"]["y"].iloc[-1] < 0.25  # predicting zero: 1
    unet, generator = load_unet(checkpoint), torch.Generator().manual_seed(0)
    x = encode(image_tensor(scenes.arrays["images"][:200]), 2)
    t = torch.randint(0, 1000, (200,), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    assert (unet(add_noise(x, noise, t), t) - noise).square().mean() < 0.25
    start = torch.randn(8, 12, 16, 16, generator=generator)
    one, two = (ddim_sample(unet, start, 10) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": [True]}, "attention: 1 values for 2 levels"),
        ({"groups": 3}, "groups: 3 does not divide"),
        ({"head_width": 5}, "head_width: 5 does not divide"),
        ({"space_to_depth": 5}, "block: 5"),
        ({"channels": [8] * 6, "attention": [False] * 6}, "cannot be halved 5 times"),
    ],
)
def test_bad_settings_are_named(dataset, change, message):
    with pytest.raises(ValueError, match=message):
        ddpm(dataset, **{**SMALL, **change}, epochs=0)


def test_public_files_with_old_names_are_read(trained, tmp_path):
    import json

    from safetensors.numpy import save_file

    network = trained.networks["unet"]
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in network.state.items():
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.") if "attentions" in key else key
        state[key] = value
    assert any(".proj_attn." in key for key in state)
    (tmp_path / "config.json").write_text(json.dumps(network.config | {"_diffusers_version": "0.1"}))
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"beta_schedule": "linear", "beta_end": 0.02}))
    found = public_unet(name=str(tmp_path))
    found.check()
    assert same(trained, found)
    assert found.meta["space_to_depth"] == 1
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"beta_schedule": "squaredcos_cap_v2"}))
    with pytest.raises(ValueError, match="beta_schedule"):
        public_unet(name=str(tmp_path))
    (tmp_path / "scheduler_config.json").unlink()
    state.pop("conv_in.weight")
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ValueError, match=r"do not fit its configuration \(Missing key"):
        public_unet(name=str(tmp_path))
    with pytest.raises(ValueError, match="no checkpoint"):
        public_unet(name=str(tmp_path / "absent"))
