"""Step `public`, on tiny checkpoints saved by transformers itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from tasks.artifacts import Checkpoint, Dataset
from tasks.checkpoint.public import public
from tasks.nn.vit import load_vit, preprocess, vit_features
from tasks.pretrain.clip_features import clip_features

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGE = {"image_size": 16, "patch_size": 4}


def write_preprocessor(folder: Path, **changes: object) -> None:
    content = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "size": 16, **changes}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def save_model(model: transformers.PreTrainedModel, folder: Path) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    write_preprocessor(folder)
    return folder


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A ViT with pooler, as facebook/dino-vitb8 is stored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_model(transformers.ViTModel(transformers.ViTConfig(**TOWER, **IMAGE)), tmp_path / "vit")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    config = transformers.CLIPConfig(
        text_config={**TOWER, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 8},
        vision_config={**TOWER, **IMAGE, "projection_dim": 6},
        projection_dim=6,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_model(transformers.CLIPModel(config), tmp_path / "clip")


def in_hub_cache(folder: Path, cache: Path, name: str = "someone/tiny") -> Path:
    """`folder` as the hub's client would have stored the repository `name`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    return cache


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_vit_survives_the_round_trip_through_our_artifact(vit: Path, tmp_path: Path) -> None:
    checkpoint = public(name=str(vit), kind="vit")
    assert set(checkpoint.networks) == {"vit"}
    assert checkpoint.meta == {"kind": "vit", "image_mean": MEAN, "image_std": STD, "size": [16, 16]}
    checkpoint.save(tmp_path / "artifact")
    assert Checkpoint.load(tmp_path / "artifact").meta == checkpoint.meta
    theirs = transformers.ViTModel.from_pretrained(vit, add_pooling_layer=False)
    ours, report = transformers.ViTModel.from_pretrained(
        tmp_path / "artifact" / "networks" / "vit", add_pooling_layer=False, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        assert torch.equal(ours(images()).last_hidden_state, theirs(images()).last_hidden_state)


def test_patch_features_are_those_of_the_public_model(vit: Path) -> None:
    checkpoint = public(name=str(vit), kind="vit")
    ours = load_vit(checkpoint)
    theirs = transformers.ViTModel.from_pretrained(vit, add_pooling_layer=False).eval()
    pixels = preprocess(images(), ours, checkpoint.meta)
    assert torch.allclose(pixels, (images() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    with torch.no_grad():
        expected = theirs(pixels).last_hidden_state
    tokens, cls = vit_features(ours, pixels, "last")
    assert torch.allclose(tokens, expected[:, 1:], atol=1e-6)
    assert torch.allclose(cls, expected[:, 0], atol=1e-6)


def test_nothing_of_path_or_version_enters_the_artifact(vit: Path, tmp_path: Path) -> None:
    public(name=str(vit), kind="vit").save(tmp_path / "a")
    public(name=str(vit.rename(tmp_path / "moved")), kind="vit").save(tmp_path / "b")
    assert (tmp_path / "a" / "artifact.json").read_bytes() == (tmp_path / "b" / "artifact.json").read_bytes()
    text = (tmp_path / "a" / "networks" / "vit" / "config.json").read_text()
    assert str(tmp_path) not in text
    assert transformers.__version__ not in text


def test_clip_and_its_image_tower(clip: Path, tmp_path: Path) -> None:
    both = public(name=str(clip), kind="clip")
    tower = public(name=str(clip), kind="clip_vision")
    assert set(both.networks) == set(tower.networks) == {"clip"}
    assert any(key.startswith("text_model.") for key in both.networks["clip"].state)
    assert not any("text" in key for key in tower.networks["clip"].state)
    tower.save(tmp_path / "artifact")
    ours = transformers.CLIPVisionModelWithProjection.from_pretrained(tmp_path / "artifact" / "networks" / "clip")
    theirs = transformers.CLIPModel.from_pretrained(clip)
    with torch.no_grad():
        expected = theirs.visual_projection(theirs.vision_model(images()).pooler_output)
        assert torch.allclose(ours(images()).image_embeds, expected, atol=1e-6)
    both.save(tmp_path / "both")
    assert transformers.CLIPModel.from_pretrained(tmp_path / "both" / "networks" / "clip").config.projection_dim == 6


@pytest.mark.parametrize("kind", ["clip", "clip_vision"])
def test_clip_features_are_those_of_the_public_model(clip: Path, kind: str) -> None:
    dataset = Dataset(
        {"samples": pd.DataFrame({"sample": [0, 1], "split": pd.Series(["train", "test"], dtype="str")})},
        {"images": images().permute(0, 2, 3, 1).numpy().copy()},
    )
    found = clip_features(dataset, public(name=str(clip), kind=kind), normalize=False).arrays["embedding"]
    theirs = transformers.CLIPModel.from_pretrained(clip).eval()
    pixels = (images() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        expected = theirs.visual_projection(theirs.vision_model(pixels).pooler_output)
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_half_precision_becomes_float32(vit: Path) -> None:
    model = transformers.ViTModel.from_pretrained(vit, dtype=torch.float16)
    model.save_pretrained(vit)
    state = public(name=str(vit), kind="vit").networks["vit"].state
    assert {array.dtype for array in state.values()} == {np.dtype("float32")}


def test_a_name_is_read_from_the_cache_without_network(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = in_hub_cache(vit, tmp_path / "cache")

    def no_network(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", no_network)
    checkpoint = public(name="someone/tiny", kind="vit", cache=str(cache))
    assert checkpoint.meta["name"] == "someone/tiny"
    assert checkpoint.meta["revision"] == "0123456789abcdef0123456789abcdef01234567"


def test_a_name_that_is_not_cached(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"name: no checkpoint 'someone/none' .*; set 'download: true' once, or"
    ) as caught:
        public(name="someone/none", kind="vit", cache=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_revision_that_is_not_cached(vit: Path, tmp_path: Path) -> None:
    cache = in_hub_cache(vit, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"name: no checkpoint 'someone/tiny'"):
        public(name="someone/tiny", kind="vit", cache=str(cache), revision="v2")


def test_another_architecture(clip: Path, vit: Path) -> None:
    with pytest.raises(ValueError, match=r"kind: '.*clip' is a 'clip' model, 'vit' needs vit"):
        public(name=str(clip), kind="vit")
    with pytest.raises(ValueError, match=r"kind: '.*vit' is a 'vit' model, 'clip_vision' needs clip or"):
        public(name=str(vit), kind="clip_vision")


def test_an_incomplete_folder(vit: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"name: no checkpoint '.*empty' .*; it needs config.json and model"):
        public(name=str(tmp_path / "empty"), kind="vit")
    (vit / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"name: no checkpoint '.*vit' .*; it needs config.json and model"):
        public(name=str(vit), kind="vit")


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_damaged_configuration(vit: Path, text: str) -> None:
    (vit / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"'.*vit' is (damaged|a 'None' model)") as caught:
        public(name=str(vit), kind="vit")
    assert "\n" not in str(caught.value)


def test_truncated_weights(vit: Path) -> None:
    data = (vit / "model.safetensors").read_bytes()
    (vit / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"name: checkpoint '.*vit' is damaged .*; fetch it again") as caught:
        public(name=str(vit), kind="vit")
    assert "\n" not in str(caught.value)


def test_weights_that_need_unpickling_are_refused(vit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Bomb:
        def __reduce__(self):
            return print, ("unpickled",)

    (vit / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, vit / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"name: "):
        public(name=str(vit), kind="vit")
    assert "unpickled" not in capsys.readouterr().out


def test_plain_weights_in_the_old_format_are_read(vit: Path) -> None:
    state = transformers.ViTModel.from_pretrained(vit).state_dict()
    expected = public(name=str(vit), kind="vit").networks["vit"].state
    (vit / "model.safetensors").unlink()
    torch.save(state, vit / "pytorch_model.bin")
    found = public(name=str(vit), kind="vit").networks["vit"].state
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def test_missing_parameters_are_not_made_up(vit: Path) -> None:
    model = transformers.ViTModel.from_pretrained(vit)
    state = {key: value for key, value in model.state_dict().items() if "layer.1" not in key and "layers.1" not in key}
    assert len(state) < len(model.state_dict())
    model.save_pretrained(vit, state_dict=state)
    with pytest.raises(ValueError, match=r"name: '.*vit' lacks 16 parameters of kind 'vit', first "):
        public(name=str(vit), kind="vit")


def test_preprocessing_may_be_declared_and_must_be_known(vit: Path) -> None:
    (vit / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"image_mean: '.*vit' has no preprocessor_config.json; give 'image_mean' and"):
        public(name=str(vit), kind="vit")
    meta = public(name=str(vit), kind="vit", image_mean=[0.5], image_std=[0.25]).meta
    assert (meta["image_mean"], meta["image_std"], meta["size"]) == ([0.5], [0.25], [16, 16])
    with pytest.raises(ValueError, match=r"image_std: .* must be positive and as long as image_mean"):
        public(name=str(vit), kind="vit", image_mean=[0.5], image_std=[0.0])
    with pytest.raises(ValueError, match=r"image_std: "):
        public(name=str(vit), kind="vit", image_mean=[0.5], image_std=[0.5, 0.5])


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        ({"size": {"height": 14, "width": 18}}, [14, 18]),
        ({"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True}, [16, 16]),
        ({"size": 20, "crop_size": 16, "do_center_crop": False}, [20, 20]),
        ({"size": {"shortest_edge": 20}}, [20, 20]),
    ],
)
def test_every_spelling_of_the_size(vit: Path, stored: dict, size: list[int]) -> None:
    write_preprocessor(vit, **stored)
    assert public(name=str(vit), kind="vit").meta["size"] == size


def test_a_preprocessor_that_does_not_normalize(vit: Path) -> None:
    write_preprocessor(vit, do_normalize=False)
    meta = public(name=str(vit), kind="vit").meta
    assert (meta["image_mean"], meta["image_std"]) == ([0.0] * 3, [1.0] * 3)


def test_terminal_and_settings_are_left_alone(vit: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers.utils.logging.enable_progress_bar()
    transformers.utils.logging.set_verbosity(logging.INFO)
    capfd.readouterr()
    public(name=str(vit), kind="vit")
    assert capfd.readouterr().err == ""
    assert transformers.utils.logging.is_progress_bar_enabled()
    assert transformers.utils.logging.get_verbosity() == logging.INFO
    transformers.utils.logging.set_verbosity_warning()
