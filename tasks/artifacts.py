"""What flows between stages, and the one way to save and load it.

An artifact is a folder::

    artifact.json                 kind, metadata, and size + SHA-256 of every other file
    tables/<name>.parquet         one row per unit; checked by `tasks.schemas` on write and on read
    arrays/<name>.npy             opened memory-mapped
    networks/<name>/              config.json + model.safetensors, as Hugging Face lays them out
    figures/<name>.png            evaluate only

Nothing in it may vary between two equal runs: no time, host, path or version. Nothing is pickled.
A folder is written beside its destination and renamed, so it is either complete or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tasks.schemas import as_declared, check_table

MANIFEST = "artifact.json"
GROUPS = {"tables", "arrays", "networks", "figures"}


class ArtifactError(ValueError):
    """An artifact on disk is absent, incomplete, damaged or of another kind than asked for."""


@dataclass
class Network:
    """Weights of one network with the configuration that rebuilds it.

    `state` maps parameter names to arrays. `config` is JSON. A `transformers` network keeps its own
    `config.to_dict()` here, so `from_pretrained(folder)` reads ours and the public ones alike.
    """

    config: dict[str, Any]
    state: dict[str, np.ndarray]


@dataclass
class Artifact:
    """Tables, arrays, networks and JSON metadata of one kind. Subclasses only name the kind."""

    KIND: ClassVar[str] = ""
    REQUIRED_TABLES: ClassVar[tuple[str, ...]] = ()

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether this is what the step `none` leaves behind: nothing."""
        return self.meta.get("step") == "none"

    def check(self) -> None:
        """Raise `ValueError` if a table is missing or breaks its schema, or an array is not finite."""
        for name in () if self.is_none else self.REQUIRED_TABLES:
            if name not in self.tables:
                raise ValueError(f"{self.KIND}: table '{name}' is missing")
        for name, table in self.tables.items():
            check_table(self.KIND, name, table)
        for name, array in self.arrays.items():
            if array.dtype == object:
                raise ValueError(f"{self.KIND}: array '{name}' has dtype object; use a numeric dtype")
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise ValueError(f"{self.KIND}: array '{name}' contains NaN or infinite values")
        for name, network in self.networks.items():
            for key, value in network.state.items():
                if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                    raise ValueError(f"{self.KIND}: network '{name}', '{key}' contains NaN or infinite values")

    def save(self, folder: Path) -> None:
        """Check, write beside `folder`, then rename. An existing `folder` is replaced."""
        self.check()
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            self._write(partial)
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        for name, table in self.tables.items():
            path = folder / "tables" / f"{name}.parquet"
            path.parent.mkdir(exist_ok=True)
            # The pandas metadata names library versions, which must not enter a stage's hash.
            plain = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
            pq.write_table(plain, path, compression="zstd")
        for name, array in self.arrays.items():
            path = folder / "arrays" / f"{name}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.asarray(array, order="C"), allow_pickle=False)
        for name, network in self.networks.items():
            path = folder / "networks" / name
            path.mkdir(parents=True)
            (path / "config.json").write_text(_json(network.config))
            # Not ascontiguousarray, which turns a scalar parameter into a vector.
            state = {key: np.asarray(value, order="C") for key, value in network.state.items()}
            save_file(state, path / "model.safetensors", metadata={"format": "pt"})
        for name, png in self.figures.items():
            path = folder / "figures" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png)
        files = {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        (folder / MANIFEST).write_text(_json({"kind": self.KIND, "meta": self.meta, "files": files}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check an artifact.

        Arrays are memory-mapped and read-only: copy (`np.array(x)`) before handing them to torch.
        Raises `ArtifactError` naming the file if anything is missing, cut short or altered.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest["kind"] != cls.KIND:
            raise ArtifactError(f"{folder}: holds '{manifest['kind']}', expected '{cls.KIND}'")
        artifact = cls(meta=manifest["meta"])
        for relative, expected in manifest["files"].items():
            path = folder / relative
            if not path.is_file():
                raise ArtifactError(f"{path}: missing; run 'dvc checkout' or delete {folder} and run again")
            if path.stat().st_size != expected["bytes"]:
                raise ArtifactError(f"{path}: {path.stat().st_size} bytes, expected {expected['bytes']}")
            group, name = relative.split("/", 1)
            # Arrays may be far larger than memory: their size is checked here, their hash by DVC.
            if group != "arrays" and file_sha256(path) != expected["sha256"]:
                raise ArtifactError(f"{path}: content differs from {folder / MANIFEST}")
            stem = name.rsplit(".", 1)[0]
            if group == "arrays":
                artifact.arrays[stem] = _mapped(path)
            elif group == "tables":
                artifact.tables[stem] = as_declared(cls.KIND, stem, pq.read_table(path))
            elif group == "figures":
                artifact.figures[stem] = path.read_bytes()
            elif name.endswith("model.safetensors"):
                artifact.networks[path.parent.name] = load_network(path.parent)
        artifact.check()
        return artifact


class Dataset(Artifact):
    """Samples with what the setting grants (`given_label`) and, apart from it, the truth.

    Table `samples`: `sample` int64 0..n-1, `split` (train, test, ...), optionally `label` (the truth,
    Int64) and `given_label` (Int64, <NA> where nothing is granted). Arrays have one entry per sample
    (`images` uint8 or float32 [n, H, W, C]) unless a table says otherwise. `meta["truth"]` names every
    further array and table that only `evaluate` may see.
    """

    KIND = "dataset"
    REQUIRED_TABLES = ("samples",)

    @property
    def samples(self) -> pd.DataFrame:
        return self.tables["samples"]

    def rows(self, split: str) -> np.ndarray:
        """Indices int64 of the samples of one split; `ValueError` if there are none."""
        rows = np.flatnonzero((self.samples["split"] == split).to_numpy())
        if len(rows) == 0:
            known = ", ".join(sorted(self.samples["split"].unique()))
            raise ValueError(f"dataset: no sample has split '{split}' (splits present: {known})")
        return rows

    def labels(self, column: str, rows: np.ndarray) -> np.ndarray:
        """`label` or `given_label` of `rows` as int64; `ValueError` if a row has none."""
        if column not in self.samples:
            raise ValueError(f"dataset: column '{column}' is needed and absent")
        values = self.samples[column].iloc[rows]
        if values.isna().any():
            raise ValueError(f"dataset: {int(values.isna().sum())} rows have no '{column}'")
        return values.to_numpy(dtype=np.int64)

    def without_truth(self) -> Dataset:
        """The dataset as every stage before `evaluate` sees it."""
        truth = set(self.meta.get("truth", ()))
        tables = {name: table for name, table in self.tables.items() if name not in truth}
        tables["samples"] = self.samples.drop(columns="label", errors="ignore")
        arrays = {name: array for name, array in self.arrays.items() if name not in truth}
        return Dataset(tables, arrays, meta={k: v for k, v in self.meta.items() if k != "truth"})

    def check(self) -> None:
        super().check()
        if self.is_none:
            return
        if len(self.samples) == 0:
            raise ValueError("dataset: no samples")
        names = self.meta.get("class_names")
        for column in ("label", "given_label"):
            if names is not None and column in self.samples:
                values = self.samples[column].dropna().to_numpy(dtype=np.int64)
                if len(values) and not 0 <= values.min() <= values.max() < len(names):
                    raise ValueError(f"dataset: '{column}' outside 0..{len(names) - 1}")
        for name in self.meta.get("truth", ()):
            if name not in self.arrays and name not in self.tables:
                raise ValueError(f"dataset: meta['truth'] names '{name}', which does not exist")


class Checkpoint(Artifact):
    """Networks trained once and shared by methods, as papers share public weights."""

    KIND = "checkpoint"


class Representation(Artifact):
    """Table `units` (`unit`, `sample`, ...) and array `embedding` float32 [units, d]."""

    KIND = "representation"
    REQUIRED_TABLES = ("units",)


class Clusters(Artifact):
    """Table `units` (`unit`, `cluster`; -1 is noise) and arrays such as `centroids`."""

    KIND = "clusters"


class PseudoLabels(Artifact):
    """Table `units` (`unit`, `pseudo_label`, ...) and arrays such as multi-label targets or masks."""

    KIND = "pseudo_labels"


class Model(Artifact):
    """Trained networks and their outputs on the dataset (`embedding` float32 [n, d], predictions)."""

    KIND = "model"


class Metrics(Artifact):
    """`values` (metric -> float), table `curves` (curve, x, y), figures (PNG)."""

    KIND = "metrics"

    @property
    def values(self) -> dict[str, float]:
        return self.meta["values"]


def network_of(module: Any, config: Mapping[str, Any]) -> Network:
    """`Network` of a torch module: its state dict as float/integer arrays, with `config`."""
    state = {k: v.detach().cpu().numpy().copy() for k, v in module.state_dict().items()}
    return Network(dict(config), state)


def load_network(folder: Path) -> Network:
    """Read config.json + model.safetensors; `ArtifactError` names a damaged file."""
    weights = folder / "model.safetensors"
    try:
        with safe_open(weights, framework="numpy"):
            pass
        return Network(json.loads((folder / "config.json").read_text()), load_file(weights))
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{folder}: {error}") from error
    except Exception as error:  # safetensors raises its own SafetensorError
        raise ArtifactError(f"{weights}: {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The parsed artifact.json of a folder; `ArtifactError` if it is absent or damaged."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder}: no artifact here; run the stage that makes it")
    try:
        manifest = json.loads(path.read_text())
        groups = {name.partition("/")[0] for name, file in manifest["files"].items() if "bytes" in file}
        sound = isinstance(manifest["kind"], str) and isinstance(manifest["meta"], dict)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: damaged ({error})") from error
    if not sound or not groups <= GROUPS:
        raise ArtifactError(f"{path}: damaged (not what an artifact's manifest says)")
    return manifest


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:  # its header is damaged, or it holds objects
        raise ArtifactError(f"{path}: {error}") from error


def digest(folder: Path) -> str:
    """SHA-256 of an artifact's manifest: equal digests mean equal content."""
    read_manifest(folder)
    return file_sha256(Path(folder) / MANIFEST)


def file_sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
