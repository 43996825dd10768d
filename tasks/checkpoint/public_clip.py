"""A public CLIP with its tokenizer."""

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tasks.artifacts import Checkpoint
from tasks.checkpoint.public import public
from tasks.vision_language.clip_model import Pool


def public_clip(
    *,
    name: str,
    pool: Pool = "cls",
    revision: str | None = None,
    cache: str | None = None,
    download: bool = False,
) -> Checkpoint:
    """Both towers (`openai/clip-vit-base-patch16`) as step `public` reads them, and the tokenizer beside them.

    name, revision, cache, download: as in step `public`. pool: how the embedding of an image was trained.

    Returns networks["clip"] and the meta of step `public`, with `pool` and `tokenizer` (JSON of a `tokenizers.Tokenizer`
    that pads and cuts to the text tower's length).

    Raises ValueError naming the checkpoint: as step `public`; no tokenizer that can be read without running code.
    """
    checkpoint = public(name=name, kind="clip", revision=revision, cache=cache, download=download)
    try:
        # The commit that the weights were read from; a local folder has none.
        commit = checkpoint.meta.get("revision", "main")
        loaded = AutoTokenizer.from_pretrained(name, revision=commit, cache_dir=cache, local_files_only=not download)
        tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"name: no tokenizer beside '{name}' could be read ({reason}); it needs tokenizer.json"
        ) from error
    text = checkpoint.networks["clip"].config["text_config"]
    # Without its file the library makes a tokenizer of no words.
    if tokenizer.get_vocab_size() != text["vocab_size"]:
        raise ValueError(
            f"name: no tokenizer beside '{name}' fits it ({tokenizer.get_vocab_size()} words, the text tower has "
            f"{text['vocab_size']}); it needs tokenizer.json"
        )
    tokenizer.enable_truncation(int(text["max_position_embeddings"]))
    pad = loaded.pad_token or loaded.eos_token
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad), pad_token=pad)
    checkpoint.meta |= {"pool": pool, "tokenizer": tokenizer.to_str()}
    return checkpoint
