import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tasks.artifacts import Checkpoint, Dataset, network_of
from tasks.pretrain.clip_features import clip_features

TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**TOWER, "image_size": 16, "patch_size": 4}
TEXT = {
    **TOWER,
    "vocab_size": 30,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 29,
    "pad_token_id": 0,
}
META = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=12)).eval()


@pytest.fixture(scope="module")
def checkpoint(clip) -> Checkpoint:
    return Checkpoint(networks={"clip": network_of(clip, clip.config.to_dict())}, meta=META)


def dataset(images: np.ndarray, **arrays: np.ndarray) -> Dataset:
    n = len(images)
    samples = pd.DataFrame({"sample": np.arange(n), "split": pd.Series(["train"] * n, dtype="str")})
    return Dataset({"samples": samples}, {"images": images, **arrays})


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


def reference(clip: CLIPModel, images: np.ndarray) -> np.ndarray:
    """Features by the library's own entry point."""
    pixels = (images / 255 - np.array(META["image_mean"])) / np.array(META["image_std"])
    with torch.no_grad():
        output = clip.get_image_features(pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32))
    return getattr(output, "pooler_output", output).numpy()


def test_equals_the_library_for_both_kinds_of_checkpoint(clip, checkpoint, images):
    result = clip_features(dataset(images), checkpoint, normalize=False, batch_size=3)
    result.check()
    expected = reference(clip, images)
    assert result.arrays["embedding"].dtype == np.float32
    assert np.allclose(result.arrays["embedding"], expected, atol=1e-5)

    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=12))
    tower.load_state_dict({k: v for k, v in clip.state_dict().items() if k in tower.state_dict()})
    alone = Checkpoint(networks={"clip": network_of(tower, tower.config.to_dict())}, meta=META)
    assert np.allclose(clip_features(dataset(images), alone, normalize=False).arrays["embedding"], expected, atol=1e-5)
    unit = clip_features(dataset(images), alone).arrays["embedding"]
    assert np.allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_reads_a_saved_checkpoint_and_twice_is_bit_equal(checkpoint, images, tmp_path):
    checkpoint.save(tmp_path / "clip")
    first, again = (clip_features(dataset(images), Checkpoint.load(tmp_path / "clip")) for _ in range(2))
    assert first.arrays["embedding"].tobytes() == again.arrays["embedding"].tobytes()
    assert np.array_equal(first.arrays["embedding"], clip_features(dataset(images), checkpoint).arrays["embedding"])


def test_grey_is_repeated_and_other_sizes_are_resized_and_cropped(checkpoint, clip):
    grey = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    expected = reference(clip, np.repeat(grey, 3, axis=3))
    assert np.allclose(
        clip_features(dataset(grey), checkpoint, normalize=False).arrays["embedding"], expected, atol=1e-5
    )

    large = np.kron(np.random.default_rng(1).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8), np.ones((1, 6, 6, 1)))
    large = large.astype(np.uint8)
    found = clip_features(dataset(large), checkpoint).arrays["embedding"]
    pil = [Image.fromarray(i).resize((24, 16), Image.Resampling.BICUBIC).crop((4, 0, 20, 16)) for i in large]
    expected = reference(clip, np.stack([np.asarray(p) for p in pil]))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (found * expected).sum(axis=1).min() > 0.999


def test_use_text_adds_unit_features_and_ignores_padding(checkpoint, clip, images):
    ids = np.array([[1, 5, 7, 29, 0, 0]] * 6 + [[1, 9, 29, 0, 0, 0]])
    found = clip_features(dataset(images, token_ids=ids), checkpoint, use_text=True).arrays["embedding"]
    with torch.no_grad():
        text = clip.get_text_features(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy((ids != 0).astype(np.int64))
        )
    text = getattr(text, "pooler_output", text).numpy()
    image = reference(clip, images)
    total = sum(f / np.linalg.norm(f, axis=1, keepdims=True) for f in (image, text))
    assert np.allclose(found, total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-5)


def test_bad_input_is_named(checkpoint, images):
    with pytest.raises(ValueError, match="use_text: the data set has no text"):
        clip_features(dataset(images), checkpoint, use_text=True)
    with pytest.raises(ValueError, match="network 'clip' is needed"):
        clip_features(dataset(images), Checkpoint(meta=META))
    with pytest.raises(ValueError, match="images have 2 channels, network 'clip' takes 3"):
        clip_features(dataset(images[..., :2]), checkpoint)
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=12))
    alone = Checkpoint(networks={"clip": network_of(tower, tower.config.to_dict())}, meta=META)
    with pytest.raises(ValueError, match="use_text: the checkpoint holds the image tower only"):
        clip_features(dataset(images, token_ids=np.ones((7, 3), dtype=np.int64)), alone, use_text=True)
    with pytest.raises(ValueError, match="meta needs 'image_mean'"):
        clip_features(dataset(images), Checkpoint(networks=checkpoint.networks))
    network = checkpoint.networks["clip"]
    damaged = {k: v for k, v in network.state.items() if k != "visual_projection.weight"}
    broken = Checkpoint(networks={"clip": type(network)(network.config, damaged)}, meta=META)
    with pytest.raises(ValueError, match=r"do not fit its configuration \(Missing key.*visual_projection"):
        clip_features(dataset(images), broken)
    other = Checkpoint(networks={"clip": type(network)({"model_type": "vit"}, {})}, meta=META)
    with pytest.raises(ValueError, match="is a 'vit', expected"):
        clip_features(dataset(images), other)
