"""Trained models as MLflow models: a folder of safetensors and JSON, loaded without pickle.

`mlflow.pyfunc.load_model(...)` then gives an object whose `predict` takes images [n, H, W, C] and returns
what the method's network computes (see `tasks.predict`).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tasks.artifacts import Model
from tasks.predict import can_predict, predict

# What a saved model imports.
LIBRARIES = ("mlflow", "numpy", "pandas", "pandera", "pyarrow", "pydantic", "safetensors", "torch", "transformers")


class Predictor:
    """What `mlflow.pyfunc` calls."""

    def __init__(self, model: Model):
        self.model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Images [n, H, W, C], uint8 or float32 in 0..1 -> one array with n entries."""
        return predict(self.model, np.asarray(model_input))


def _load_pyfunc(path: str) -> Predictor:
    """Entry point that MLflow looks up by this name in the loader module."""
    return Predictor(Model.load(Path(path)))


def save_pyfunc(folder: Path, target: Path) -> bool:
    """Write an MLflow model around a `self_train` artifact; False if it holds no network that can predict."""
    from mlflow import pyfunc

    if not can_predict(Model.load(folder)):
        return False
    pyfunc.save_model(
        str(target),
        loader_module="flows.serving",
        data_path=str(folder),
        code_paths=["flows", "tasks"],
        # Else MLflow imports the model in another process to find out: five seconds.
        pip_requirements=[f"{library}=={version(library)}" for library in LIBRARIES],
    )
    return True
