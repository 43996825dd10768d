"""A public unconditional diffusion model."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.utils.hub import cached_file

from tasks.artifacts import Checkpoint, network_of
from tasks.diffusion.unet import UNet

_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# Attention layers of older files.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def public_unet(
    *, name: str, revision: str | None = None, cache: str | None = None, download: bool = False
) -> Checkpoint:
    """Weights of a `diffusers.UNet2DModel` (`google/ddpm-cifar10-32`) by their hub name or from a local folder.

    Files: `config.json`, `diffusion_pytorch_model.safetensors` (or `.bin`, read with `weights_only`), and where it is there
    `scheduler_config.json`, which must say what we compute with: 1000 steps, linear betas 1e-4 to 0.02, epsilon.

    name, revision, cache, download: as in step `public`.

    Returns networks["unet"], meta: `kind`, `space_to_depth` (1: the network works on pixels), `size`.

    Raises ValueError naming the checkpoint: not in the cache, damaged, of another architecture or another schedule.
    """
    source: dict[str, Any] = {"revision": revision or "main", "cache_dir": cache, "local_files_only": not download}
    found = _file(name, "config.json", source)
    weights = next((file for file in (_file(name, one, source) for one in _FILES) if file), None)
    if found is None or weights is None:
        remedy = "check the name and the network" if download else "set 'download: true' once, or name a local folder"
        raise ValueError(f"name: no checkpoint '{name}' with config.json and {_FILES[0]} could be read; {remedy}")
    schedule = _file(name, "scheduler_config.json", source)
    if schedule is not None:
        _check_schedule(name, json.loads(schedule.read_text()))
    try:
        config = {k: v for k, v in json.loads(found.read_text()).items() if not k.startswith("_")}
        state = load_file(weights) if weights.suffix == ".safetensors" else torch.load(weights, weights_only=True)
    except Exception as error:  # json, safetensors and torch each raise their own
        raise ValueError(f"name: checkpoint '{name}' is damaged ({type(error).__name__}); fetch it again") from error
    unet = UNet(config)
    try:
        unet.load_state_dict({_current(key): value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"name: the weights of '{name}' do not fit its configuration ({reason})") from error
    size = config.get("sample_size")
    height_width = list(size) if isinstance(size, list) else [size, size]
    meta = {"kind": "ddpm", "space_to_depth": 1, "size": height_width}
    return Checkpoint(networks={"unet": network_of(unet, {**config, "_class_name": "UNet2DModel"})}, meta=meta)


def _file(name: str, file: str, source: dict[str, Any]) -> Path | None:
    try:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **source)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)


def _check_schedule(name: str, stored: dict[str, Any]) -> None:
    for key, value in {**_SCHEDULE, "prediction_type": "epsilon"}.items():
        if stored.get(key, value) != value:
            raise ValueError(f"name: '{name}' was trained with {key} {stored[key]!r}; only {value!r} is supported")


def _current(key: str) -> str:
    *path, layer, kind = key.split(".")
    return ".".join([*path, _RENAMED.get(layer, layer), kind]) if "attentions" in path else key
