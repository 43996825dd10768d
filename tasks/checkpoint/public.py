"""Public pretrained weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import CONFIG_NAME, logging
from transformers.utils.hub import cached_file

from tasks.artifacts import Checkpoint, network_of

# Kind -> network's name in the checkpoint, class that reads it, model types it can read.
_KINDS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "vit": ("vit", transformers.ViTModel, ("vit",)),
    "clip": ("clip", transformers.CLIPModel, ("clip",)),
    "clip_vision": ("clip", transformers.CLIPVisionModelWithProjection, ("clip", "clip_vision_model")),
}
# A configuration says where it was loaded from and by which version: neither may enter an artifact.
_VOLATILE = ("_name_or_path", "transformers_version")


def public(
    *,
    name: str,
    kind: Literal["vit", "clip", "clip_vision"],
    revision: str | None = None,
    cache: str | None = None,
    download: bool = False,
    image_mean: list[float] | None = None,
    image_std: list[float] | None = None,
) -> Checkpoint:
    """Weights by their Hugging Face name (`facebook/dino-vitb8`) or from a local folder, through `transformers`.

    Files: `config.json`, `model.safetensors` (or `pytorch_model.bin`, read with `weights_only`), and
    `preprocessor_config.json`. Nothing is unpickled and no code of the repository is run.

    Parameters
    ----------
    name: name on the hub, or a folder relative to the workspace.
    kind: "vit" (DINO, supervised ViT), "clip" (both towers) or "clip_vision" (image tower and projection).
    revision: commit, branch or tag on the hub; name a commit to make the result repeatable.
    cache: folder of the hub cache; default: where Hugging Face keeps it ($HF_HOME).
    download: fetch what the cache lacks; otherwise no network is used.
    image_mean, image_std: per channel, of images scaled to 0..1; override the preprocessor's, or stand in for it.

    Returns networks["vit"] (without pooler) or networks["clip"], float32, which `from_pretrained` reads back, and
    meta: `kind`, `image_mean`, `image_std` (for images in 0..1), `size` [height, width] of the input.

    Raises ValueError naming the checkpoint: not in the cache, damaged, of another architecture, parameters
    missing, no preprocessing known.
    """
    key, model_class, model_types = _KINDS[kind]
    source: dict[str, Any] = {"revision": revision or "main", "cache_dir": cache, "local_files_only": not download}
    local = Path(name).is_dir()
    with _quiet(), _explained(name, download):
        found = cached_file(name, CONFIG_NAME, **source)
        if found is None:
            raise OSError(f"no {CONFIG_NAME}")
        config_file = Path(found)
        model_type = json.loads(config_file.read_text()).get("model_type")
    if model_type not in model_types:
        raise ValueError(f"kind: '{name}' is a '{model_type}' model, '{kind}' needs {' or '.join(model_types)}")
    if not local:
        # The cache keeps each commit in a folder of that name: all further files are read from the same one.
        source["revision"] = config_file.parent.name
    options: dict[str, Any] = {"add_pooling_layer": False} if kind == "vit" else {}
    with _quiet(), _explained(name, download):
        model, report = model_class.from_pretrained(
            name, weights_only=True, dtype=torch.float32, output_loading_info=True, **source, **options
        )
    absent = sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])})
    if absent:
        raise ValueError(
            f"name: '{name}' lacks {len(absent)} parameters of kind '{kind}', first {absent[0]}; check 'kind'"
        )
    settings = {k: v for k, v in model.config.to_dict().items() if k not in _VOLATILE}
    meta = _preprocessing(name, source, image_mean, image_std, model.config)
    if not local:
        meta |= {"name": name, "revision": source["revision"]}
    return Checkpoint(networks={key: network_of(model, settings)}, meta={"kind": kind, **meta})


def _preprocessing(
    name: str, source: dict[str, Any], mean: list[float] | None, std: list[float] | None, config: Any
) -> dict[str, Any]:
    """`image_mean`, `image_std` and `size` from what was declared, else from the checkpoint's own files."""
    try:
        stored, _ = ImageProcessingMixin.get_image_processor_dict(name, **source)
    except OSError:
        stored = {}
    if stored and not stored.get("do_normalize", True):
        stored |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    mean, std = mean or stored.get("image_mean"), std or stored.get("image_std")
    if mean is None or std is None:
        raise ValueError(f"image_mean: '{name}' has no preprocessor_config.json; give 'image_mean' and 'image_std'")
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(f"image_std: {std} must be positive and as long as image_mean {mean}")
    size = stored.get("crop_size") if stored.get("do_center_crop", "crop_size" in stored) else stored.get("size")
    vision = getattr(config, "vision_config", config)
    return {
        "image_mean": [float(v) for v in mean],
        "image_std": [float(v) for v in std],
        "size": _height_width(size if size is not None else vision.image_size),
    }


def _height_width(size: Any) -> list[int]:
    """[height, width] of the forms that preprocessors use: a number, {height, width} or {shortest_edge}."""
    if isinstance(size, dict):
        height, width = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
        return [int(height), int(width)]
    return [int(v) for v in size] if isinstance(size, list | tuple) else [int(size), int(size)]


@contextmanager
def _explained(name: str, download: bool) -> Iterator[None]:
    """One line that names the checkpoint for whatever the libraries raise."""
    try:
        yield
    except OSError as error:
        remedy = "check the name and the network" if download else "set 'download: true' once, or name a local folder"
        if Path(name).is_dir():
            remedy = "it needs config.json and model.safetensors"
        raise ValueError(f"name: no checkpoint '{name}' could be read ({_first_line(error)}); {remedy}") from error
    except Exception as error:  # json, safetensors, torch and huggingface_hub each raise their own
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise ValueError(f"name: checkpoint '{name}' is damaged ({reason}); fetch it again") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no load report on the terminal: what matters in them is checked and raised."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
