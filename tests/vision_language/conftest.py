"""A random small CLIP in the form that checkpoints have."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from tasks.artifacts import Checkpoint, network_of
from tasks.vision_language.tokenizer import SPECIAL, word_tokenizer

WORDS = ["a", "photo", "of", "red", "blue", "circle", "star"]
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="session")
def library_clip():
    text = {**TOWER, "vocab_size": 11, "max_position_embeddings": 8, "pad_token_id": 0}
    config = CLIPConfig(
        vision_config={**TOWER, "image_size": 16, "patch_size": 4},
        text_config={**text, "bos_token_id": SPECIAL["<start>"], "eos_token_id": SPECIAL["<end>"]},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config).eval()
        for parameter in model.parameters():  # the library's start is nearly the same for all inputs
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="session")
def clip_checkpoint(library_clip):
    meta = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": [16, 16], "pool": "mean"}
    meta["tokenizer"] = word_tokenizer(WORDS, 8).to_str()
    return Checkpoint(networks={"clip": network_of(library_clip, library_clip.config.to_dict())}, meta=meta)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
