"""Text as token ids: a word-level tokenizer for closed vocabularies, in the format that public tokenizers have too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<start>", "<end>"
# The end token must not have id 2: CLIPTextModel then takes the legacy path and pools where the id is largest.
SPECIAL = {PAD: 0, UNKNOWN: 1, START: 2, END: 3}


def word_tokenizer(words: Iterable[str], max_length: int) -> Tokenizer:
    """Lower-cased words separated by white space, between <start> and <end>, cut to `max_length`, padded per batch."""
    vocabulary = dict(SPECIAL)
    for word in words:
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    ends = [(START, SPECIAL[START]), (END, SPECIAL[END])]
    template = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    tokenizer.post_processor = template  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.enable_padding(pad_id=SPECIAL[PAD], pad_token=PAD)
    tokenizer.enable_truncation(max_length)
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, both int64 [n, longest]. Raises ValueError for an empty text."""
    for text in texts:
        if not text.strip():
            raise ValueError("texts: a text is empty")
    encoded = tokenizer.encode_batch(list(texts))
    ids = np.array([e.ids for e in encoded], dtype=np.int64)
    return ids, np.array([e.attention_mask for e in encoded], dtype=np.int64)
