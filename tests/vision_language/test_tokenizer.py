"""Words to ids, and what the library's own tokenizer class makes of the same file."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tasks.vision_language.tokenizer import tokenize, word_tokenizer

WORDS = ["a", "photo", "of", "red", "circle"]


def test_ids_mask_padding_and_length():
    tokenizer = word_tokenizer(WORDS, 6)
    ids, mask = tokenize(tokenizer, ["a red circle", "A Zebra", "a photo of a red red circle"])
    assert ids.tolist() == [[2, 4, 7, 8, 3, 0], [2, 4, 1, 3, 0, 0], [2, 4, 5, 6, 4, 3]]
    assert mask.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    assert ids.dtype == mask.dtype == np.int64


def test_the_end_token_is_not_2():
    """With eos_token_id 2 CLIPTextModel pools at the largest id instead."""
    assert word_tokenizer(WORDS, 6).token_to_id("<end>") == 3


def test_read_by_transformers_and_after_a_round_trip(tmp_path):
    tokenizer = word_tokenizer(WORDS, 6)
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["a red circle", "a photo"]
    ids, mask = tokenize(Tokenizer.from_str(tokenizer.to_str()), texts)
    found = theirs(texts, padding=True)
    assert found["input_ids"] == ids.tolist()
    assert found["attention_mask"] == mask.tolist()


def test_empty_text_is_refused():
    with pytest.raises(ValueError, match="empty"):
        tokenize(word_tokenizer(WORDS, 6), ["a", " "])
