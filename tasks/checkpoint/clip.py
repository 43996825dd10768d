"""A small CLIP, trained on captioned images.

Shape legend: B batch, T tokens.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import CLIPConfig, CLIPModel

from tasks.artifacts import Checkpoint, Dataset, network_of
from tasks.nn.encoder import image_tensor
from tasks.nn.training import Optimizer, train
from tasks.shape_scenes.vocabulary import RELATIONS
from tasks.vision_language.clip_model import Clip, Pool
from tasks.vision_language.contrastive_loss import image_text_loss
from tasks.vision_language.tokenizer import SPECIAL, word_tokenizer

Size = Annotated[int, Field(ge=1)]
_MAX_SCALE = float(np.log(100))
_CHANNELS = 3
# How a value of each factor is asked for; a colour or a texture is said of a thing.
_PROMPTS = {"shape": "a photo of a {}", "color": "a photo of a {} thing", "texture": "a photo of a {} thing"}
_VOLATILE = ("_name_or_path", "transformers_version")


def clip(
    dataset: Dataset,
    *,
    pool: Pool = "mean",
    patch: Size = 4,
    hidden: Size = 64,
    vision_layers: Size = 3,
    text_layers: Size = 2,
    heads: Size = 4,
    mlp_ratio: Size = 2,
    projection: Size = 64,
    max_length: Annotated[int, Field(ge=3)] = 20,
    epochs: Annotated[int, Field(ge=0)] = 10,
    batch_size: Annotated[int, Field(ge=2)] = 64,
    optimizer: Optimizer = Optimizer(  # noqa: B008  (frozen)
        name="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, clip_norm=1.0
    ),
    over_chance: Annotated[float, Field(ge=0)] = 1.5,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Checkpoint:
    """A small stand-in for the public CLIP (Radford et al., ICML 2021, arXiv 2103.00020), from images and captions.

    Both towers are those of `transformers`. Captions of a closed vocabulary repeat, so the loss counts all equal
    captions of a batch as positives. Images are not mirrored, which would falsify "left of".

    Parameters
    ----------
    pool: what an image's embedding is: `mean` of its patches' embeddings, so that the mean over a region lies in the
        space of the texts too, or the class token (`cls`), as in the public CLIP.
    patch: side of a patch in pixels, which must divide the images' side.
    hidden, heads, mlp_ratio: width, attention heads and MLP width over `hidden` of both towers.
    vision_layers, text_layers: their depth. projection: dimensions of the common space.
    max_length: tokens of a text, with start and end.
    epochs, batch_size, optimizer: of the training, on split train.
    over_chance: zero-shot accuracy on val, of shape, colour and texture alike, must be so many times that of chance.
    seed: of weights and batches. device: "cpu" or "cuda".

    Returns networks["clip"]; table `curves`: `loss`; meta: `kind`, `pool`, `tokenizer` (JSON of a `tokenizers.Tokenizer`),
    `image_mean`, `image_std`, `size`, `zero_shot` (accuracy per factor on the images of val whose caption names one value
    of it and no second object).

    Raises ValueError: no images or no captions given, images that are not square or no multiple of `patch`, an
    encoder below `over_chance`.
    """
    if "images" not in dataset.arrays or "captions" not in dataset.tables:
        raise ValueError("dataset: needs the array 'images' and the table 'captions', given ('captions: true')")
    images = image_tensor(dataset.arrays["images"])
    side = images.shape[1]
    if images.shape[1:] != (side, side, _CHANNELS) or side % patch:
        raise ValueError(f"patch: {patch} does not fit images of shape {tuple(images.shape[1:])}; square colour images")
    if hidden % heads:
        raise ValueError(f"heads: {heads} does not divide hidden {hidden}")
    sentences = dataset.tables["captions"]["caption"].tolist()
    words = dataset.meta.get("words") or sorted({word for text in sentences for word in text.lower().split()})
    tokenizer = word_tokenizer(words, max_length)
    tower = {"hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": mlp_ratio * hidden}
    config = CLIPConfig(
        vision_config={**tower, "num_hidden_layers": vision_layers, "image_size": side, "patch_size": patch},
        text_config={
            **tower,
            "num_hidden_layers": text_layers,
            "max_position_embeddings": max_length,
            "vocab_size": tokenizer.get_vocab_size(),
            "pad_token_id": SPECIAL["<pad>"],
            "bos_token_id": SPECIAL["<start>"],
            "eos_token_id": SPECIAL["<end>"],
        },
        projection_dim=projection,
        logit_scale_init_value=2.6592,
    )
    meta = {"image_mean": [0.5] * _CHANNELS, "image_std": [0.5] * _CHANNELS, "size": [side, side], "pool": pool}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = CLIPModel(config)
    model = model.to(device).train()
    learner = Clip(model, tokenizer, meta)
    curve = _train(learner, images, sentences, dataset.rows("train"), pool, epochs, batch_size, optimizer, seed)
    model.eval()
    tables, accuracy = {"curves": curve}, {}
    if "val" in set(dataset.samples["split"]):
        accuracy = zero_shot_accuracy(learner, images, sentences, dataset.rows("val"), dataset.meta.get("factors", {}))
        for factor, (found, chance) in accuracy.items():
            if found < over_chance * chance:
                raise ValueError(
                    f"over_chance: zero-shot accuracy of {factor} is {found:.2f}, below {over_chance} x {chance:.2f}; "
                    "train longer"
                )
    settings = {k: v for k, v in config.to_dict().items() if k not in _VOLATILE}
    for name in ("text_config", "vision_config"):
        settings[name] = {k: v for k, v in settings[name].items() if k not in _VOLATILE}
    zero_shot = {factor: round(found, 4) for factor, (found, _) in accuracy.items()}
    meta |= {"kind": "clip", "tokenizer": tokenizer.to_str(), "zero_shot": zero_shot}
    return Checkpoint(tables, networks={"clip": network_of(model, settings)}, meta=meta)


def _train(
    learner: Clip,
    images: torch.Tensor,
    sentences: list[str],
    rows: np.ndarray,
    pool: Pool,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    seed: int,
) -> Any:
    encoded = learner.tokenizer.encode_batch(sentences)
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded])
    number = {sentence: i for i, sentence in enumerate(dict.fromkeys(sentences))}
    caption = torch.tensor([number[sentence] for sentence in sentences])
    model, device = learner.model, learner.device

    def loss_of_batch(rows_B: torch.Tensor, step: int) -> torch.Tensor:
        longest = int(mask[rows_B].sum(dim=1).max())
        image_BP = learner.images(learner.pixels(images[rows_B]), pool)
        text_BP = learner.tokens(ids[rows_B, :longest].to(device), mask[rows_B, :longest].to(device))
        return image_text_loss(image_BP, text_BP, model.logit_scale.exp(), caption[rows_B].to(device))

    def clamp_scale(step: int, total: int) -> None:
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MAX_SCALE)

    return train(
        loss_of_batch,
        model.parameters(),
        rows=rows,
        batch_size=batch_size,
        epochs=epochs,
        optimizer=optimizer,
        rng=np.random.default_rng(seed),
        after_step=clamp_scale,
        drop_last=True,
    )


@torch.no_grad()
def zero_shot_accuracy(
    learner: Clip, images: torch.Tensor, sentences: list[str], rows: np.ndarray, factors: dict[str, list[str]]
) -> dict[str, tuple[float, float]]:
    """Per factor the accuracy and that of chance, on images whose caption names one value and no second object."""
    several = {relation.split()[0] for relation in RELATIONS}
    rows = np.array([row for row in rows if not several & set(sentences[row].split())], dtype=np.int64)
    pool = learner.meta["pool"]
    embedding = [
        learner.images(learner.pixels(images[part]), pool) for part in np.array_split(rows, len(rows) // 256 + 1)
    ]
    image_NP = torch.nn.functional.normalize(torch.cat(embedding).cpu(), dim=1)
    result = {}
    for factor, prompt in _PROMPTS.items():
        values = [value for value in factors.get(factor, []) if value != "plain"]
        named = np.array([[value in sentences[row].split() for value in values] for row in rows]).reshape(len(rows), -1)
        told = named.sum(axis=1) == 1
        if len(values) < 2 or not told.any():
            continue
        text_KP = torch.nn.functional.normalize(learner.texts([prompt.format(value) for value in values]), dim=1)
        predicted = (image_NP[torch.from_numpy(told)] @ text_KP.T).argmax(dim=1).numpy()
        result[factor] = float((predicted == named[told].argmax(axis=1)).mean()), 1 / len(values)
    return result
