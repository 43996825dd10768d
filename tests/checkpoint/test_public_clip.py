"""Step `public_clip`, on a tiny CLIP with a byte-pair tokenizer saved as public ones are."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from tasks.artifacts import Checkpoint
from tasks.checkpoint.public_clip import public_clip
from tasks.vision_language.clip_model import load_clip

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS = ["a photo of a red circle", "star", "a photo of a photo of a photo of a photo"]


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=60, special_tokens=special))
    ends = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=ends
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[1]
    )
    fast.save_pretrained(tmp_path / "clip")
    text = {**TOWER, "vocab_size": tokenizer.get_vocab_size(), "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(
        text_config={**text, "max_position_embeddings": 10},
        vision_config={**TOWER, "image_size": 16, "patch_size": 4},
        projection_dim=6,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "image_mean": [0.4] * 3, "image_std": [0.2] * 3, "size": 16})
    )
    return tmp_path / "clip"


def test_texts_as_the_library_encodes_them(folder, tmp_path):
    checkpoint = public_clip(name=str(folder))
    checkpoint.check()
    assert checkpoint.meta["pool"] == "cls"
    checkpoint.save(tmp_path / "artifact")
    found = load_clip(Checkpoint.load(tmp_path / "artifact")).texts(TEXTS)
    library, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=10, return_tensors="pt")
    assert inputs["input_ids"].shape[1] == 10  # the last text is cut
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = library.get_text_features(**inputs).pooler_output
    assert np.allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_no_tokenizer_is_named(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="no tokenizer beside"):
        public_clip(name=str(folder))


def test_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="could be read"):
        public_clip(name=str(tmp_path / "nothing"))
