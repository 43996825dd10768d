"""VideoPCA: what the leading principal components of a clip do not explain is foreground.

Shape legend: T frames of a clip, H, W pixels, C channels, k components.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Centre = Literal["mean_frame", "frame_scalar"]
_EPS = 1e-8


def normalise(x: np.ndarray, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """(x - min) / (max - min) over `axis` (all axes by default); zeros where x is constant."""
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    return (x - low) / (high - low + _EPS)


def per_frame(x_THW: np.ndarray) -> np.ndarray:
    """`normalise` of every frame for itself."""
    return normalise(x_THW, tuple(range(1, x_THW.ndim)))


def project(frames_TX: np.ndarray, k: int, centre: Centre = "mean_frame") -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [T, k] of flattened frames in their k leading principal components, and the reconstruction [T, X].

    `centre` "mean_frame" subtracts the mean frame; "frame_scalar" subtracts from each frame its own mean value, so
    that the first component plays the part of the mean frame. Thin SVD by the T x T Gram matrix.
    """
    middle = frames_TX.mean(axis=0, keepdims=True) if centre == "mean_frame" else frames_TX.mean(axis=1, keepdims=True)
    x_TX = frames_TX - middle
    _, vectors = np.linalg.eigh(x_TX @ x_TX.T)  # ascending
    leading_Tk = vectors[:, ::-1][:, :k]
    # The sign of an eigenvector is arbitrary: the entry of largest size is made positive.
    sign_k = np.sign(leading_Tk[np.abs(leading_Tk).argmax(axis=0), np.arange(leading_Tk.shape[1])])
    leading_Tk = leading_Tk * np.where(sign_k == 0, 1, sign_k)
    components_kX = leading_Tk.T @ x_TX
    size_k = np.linalg.norm(components_kX, axis=1)
    return leading_Tk * size_k, leading_Tk @ components_kX + middle


def pca_residual(frames_THWC: np.ndarray, k: int, centre: Centre = "mean_frame") -> tuple[np.ndarray, np.ndarray]:
    """Coefficients float64 [T, k] and residual e float64 [T, H, W]: the norm over channels of frame - reconstruction.

    Each frame is first stretched to 0..1 (Stretcu & Leordeanu, BMVC 2015). e is not normalised.
    Raises ValueError for a clip of at most k + 1 frames, which k components and the mean explain (almost) in full.
    """
    count = len(frames_THWC)
    if count <= k + 1:
        raise ValueError(f"components: {k} explain a clip of {count} frames in full; lower it, or use longer clips")
    x_TX = per_frame(frames_THWC.astype(np.float64)).reshape(count, -1)
    coefficients_Tk, reconstruction_TX = project(x_TX, k, centre)
    residual_THW = np.linalg.norm((x_TX - reconstruction_TX).reshape(frames_THWC.shape), axis=-1)
    return coefficients_Tk, residual_THW
